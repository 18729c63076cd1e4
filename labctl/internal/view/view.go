// Package view shows a run in a terminal while it happens: the scenario's
// question, every step as it ends, what the programs printed, what was in the
// socket table, why a bind was refused, and the verdict.
//
// It assumes events in the order of the journal and nothing else about the
// run, and it needs no privilege. It promises: nothing is printed that no
// event says; no line is wider than Options.Width (but a path, which would be
// useless broken); text from programs, files and the network reaches the
// terminal without control characters; without Options.Animate the output is
// plain lines, each written once.
package view

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"restartlab/labctl/internal/journal"
)

// Options say what the terminal can do and what the reader wants.
type Options struct {
	Width   int  // columns; 0: not known, nothing is wrapped (a pipe)
	Color   bool // the sixteen basic colours, which follow the reader's theme
	Animate bool // one live line below what has settled
	ASCII   bool // the locale is not UTF-8
	Chinese bool // titles in Chinese where the scenario has them
	Verbose bool // also system calls, and each table that changed
	// Now is the clock of the live line alone. Settled lines take their
	// times from the journal. nil means time.Now.
	Now func() time.Time

	// columns reads the terminal's present width, nil where there is none.
	columns func() int
	// lines reads its present height, likewise.
	lines func() int
}

// frame is the time between two drawings of the live line.
const frame = 200 * time.Millisecond

// streamAfter is how long a step's output is held back to stand below the
// step's own line. A step that runs longer gets a line at once, and what it
// prints then appears as it comes.
const streamAfter = time.Second

// heldLines bounds what is held back.
const heldLines = 100

// View shows one scenario run. Its methods may be called from several
// goroutines.
type View struct {
	mu      sync.Mutex
	page    page
	screen  *screen
	lab     lab
	shown   map[string]string // host -> the socket table last printed
	hosts   bool              // the hosts are printed
	skipped []string
	closed  bool
	paused  *pause // waits for the reader before a step
	asking  bool   // a question stands where the live line would be
	ticker  *ticker
}

// New shows a run on w. With o.Animate it starts a goroutine that Close ends.
func New(w io.Writer, o Options) *View {
	p := newPage(o)
	v := &View{page: p, screen: &screen{w: w, page: p}, lab: lab{now: p.now}, shown: map[string]string{}}
	if o.Animate {
		v.ticker = startTicker(v.tick)
	}
	return v
}

// Add shows what the event adds. It writes to the writer of New before it
// returns. After Close it only remembers, for Done.
func (v *View) Add(e journal.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lab.add(e)
	if v.closed {
		return
	}
	switch e.Kind {
	case journal.KindHeader:
		v.print(v.page.header(e.Header)...)
	case journal.KindNote:
		if e.Note != nil {
			v.print(v.page.wrap("note: ", "      ", clean(e.Note.Text))...)
		}
	case journal.KindStep:
		v.addStep(e)
	case journal.KindPause:
		if e.Pause != nil {
			v.addPause(e.Pause)
		}
	case journal.KindProcess:
		v.addProcess(e)
	case journal.KindSyscall:
		if v.page.Verbose && e.Syscall != nil {
			v.detail(v.page.syscall(e))
		}
	case journal.KindSockets:
		if e.Sockets != nil {
			v.lab.addTimers(e)
		}
		if s := v.lab.step; s != nil && s.timer != "" && !s.streams && !v.page.Animate {
			v.stream()
		}
	}
	v.drawLive()
}

func (v *View) addStep(e journal.Event) {
	st := e.StepRun
	switch {
	case st == nil:
	case st.Phase == journal.PhaseBegin:
		v.printHosts()
	case st.Verdict == journal.Skipped:
		v.skipped = append(v.skipped, "`"+clean(st.ID)+"`")
	default:
		v.printHosts()
		v.settle(v.lab.last, st)
	}
}

// settle prints a step that has ended, and what belongs below its line.
func (v *View) settle(s *step, end *journal.Step) {
	v.print(v.page.settled(&v.lab, s, end)...)
	for _, m := range end.Mismatches {
		if m.Field != wholeStep { // the line has said it
			v.print(v.page.mismatch(m)...)
		}
	}
	v.printOutput(s)
	// An empty table says no more than the step's line, unless it was asked for.
	if t := s.table(v.page.Verbose); t != nil && v.changed(t) &&
		(len(t.Rows) > 0 || t.Error != "" || s.begin.Verb == "netstat") {
		v.print(v.page.table(t)...)
	}
	v.print(v.page.refusal(&v.lab, s)...)
}

// changed reports whether the table differs from the one last printed for its
// host, and remembers it. Times left do not count: they always differ.
func (v *View) changed(t *table) bool {
	sig := signature(t.Rows) + t.Error
	old, seen := v.shown[t.host]
	v.shown[t.host] = sig
	return !seen || old != sig
}

func (v *View) addProcess(e journal.Event) {
	s, p := v.lab.step, e.Process
	if p == nil || p.Phase != journal.PhaseOutput && p.Phase != journal.PhaseExit {
		return
	}
	var lines []string
	switch {
	case p.Phase == journal.PhaseOutput:
		lines = v.page.output(&v.lab, e)
	case s != nil && s.begin.Object != e.Program || s == nil && v.lab.ended < v.lab.steps && v.lab.bad == nil:
		lines = v.page.exited(e) // by itself: no step's line tells it
	}
	v.detail(lines)
	if s != nil && !s.streams && (e.T-s.t > int64(streamAfter) || len(s.held) > heldLines) {
		v.stream()
	}
}

// detail prints lines at once, or holds them for the step under way.
func (v *View) detail(lines []string) {
	if s := v.lab.step; s != nil && !s.streams {
		s.held = append(s.held, lines...)
		return
	}
	v.print(lines...)
}

// stream gives the step under way a line of its own, prints what it said up to
// now, and lets the rest come as it comes.
func (v *View) stream() {
	s := v.lab.step
	s.streams = true
	v.print(v.page.underway(&v.lab, s)...)
	v.printOutput(s)
}

func (v *View) printOutput(s *step) {
	v.print(s.held...)
	s.held = nil
}

func (v *View) printHosts() {
	if !v.hosts {
		v.hosts = true
		v.print(v.page.hosts(v.lab.hosts)...)
		v.print("")
	}
}

func (v *View) print(lines ...string) { v.screen.print(lines...) }

func (v *View) tick() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	if s := v.lab.step; s != nil && !s.streams && len(s.held) > 0 && v.page.now().Sub(s.at) > streamAfter {
		v.stream()
	}
	v.screen.resize(v.page.columns)
	v.drawLive()
}

func (v *View) drawLive() {
	switch {
	case !v.page.Animate || v.asking:
	case v.paused != nil:
		v.screen.live(v.waiting())
	default:
		v.screen.live(v.page.live(&v.lab, v.lab.step, v.screen.page.Width))
	}
}

// Close takes the live line away and says of a step under way that it did not
// end. It may be called at any time and more than once. It returns the first
// error of the writer.
func (v *View) Close() error {
	v.mu.Lock()
	if !v.closed {
		v.closed = true
		v.screen.live("")
		v.printUnfinished()
	}
	err := v.screen.err
	v.mu.Unlock()
	v.ticker.stop() // outside the lock, which a last tick may want
	return err
}

func (v *View) printUnfinished() {
	if s := v.lab.step; s != nil {
		v.print(v.page.row(v.page.dim(v.page.sym.skip)+" ", s.label(v.page), v.page.stepColumn(&v.lab), "did not end", "")...)
		v.printOutput(s)
		v.print(v.page.refusal(&v.lab, s)...)
	}
	if n := len(v.skipped); n > 0 {
		v.print(v.page.wrap(v.page.sym.skip+" ", "  ",
			fmt.Sprintf("%s skipped: %s", count(n, "step"), strings.Join(v.skipped, ", ")))...)
	}
}

// Done closes the view and prints the verdict and, last, the path of the
// report if there is one. The path is never broken or shortened.
func (v *View) Done(reportPath string) {
	v.Close()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.print("")
	v.print(v.page.verdict(&v.lab)...)
	v.print(v.page.path("report", reportPath)...)
}
