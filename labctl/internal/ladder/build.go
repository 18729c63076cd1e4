package ladder

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/journal"
)

// builder collects a ladder. Events come first as they were written, so that
// processes, sockets and holders are known, then as moments in the order of
// time.
type builder struct {
	ladder    Ladder
	moments   []moment
	hosts     map[string]int
	sockets   map[socketKey]int
	pairs     map[pair][]int // sockets by their two ends
	processes map[int]*Process
	steps     map[int]*journal.Step // ends
	warped    bool                  // durations are virtual
	history   explain.History
	traffic   traffic
	seen      map[socketKey]string
	states    int // state events
	looks     int // socket tables since the last row that told nothing new
	lost      []string
}

// moment is an event at the time at which it is drawn.
type moment struct {
	t int64
	e *journal.Event
}

// fold is the shortest time without an event that is worth a row of its own,
// in ns.
const fold = 500_000_000

func newBuilder(events []journal.Event) *builder {
	b := &builder{hosts: map[string]int{}, sockets: map[socketKey]int{}, pairs: map[pair][]int{},
		processes: map[int]*Process{}, steps: map[int]*journal.Step{}, seen: map[socketKey]string{}}
	if len(events) > MostEvents {
		b.note("%d of %d events are drawn, the first ones; journal.jsonl has all.", MostEvents, len(events))
		events = events[:MostEvents]
	}
	for i := range events {
		b.meet(&events[i])
	}
	b.traffic.pair()
	slices.SortStableFunc(b.moments, func(x, y moment) int { return cmp.Compare(x.t, y.t) })
	return b
}

func (b *builder) note(format string, args ...any) {
	b.ladder.Notes = append(b.ladder.Notes, visible(fmt.Sprintf(format, args...)))
}

// meet takes an event in the order in which it was written.
func (b *builder) meet(e *journal.Event) {
	b.history.Add(*e)
	t := e.T
	switch {
	case e.Header != nil:
		b.header(e.Header)
		return
	case e.Change != nil && e.Change.What == "up":
		b.host(e)
		return
	case e.StepRun != nil && e.StepRun.Phase == journal.PhaseEnd:
		b.steps[e.StepRun.Index] = e.StepRun
		return
	case e.LabInfo != nil && e.LabInfo.Phase == journal.PhaseBegin:
		return
	case e.Syscall != nil:
		// A call that makes the kernel act stands where it began, one that
		// waits for something where it had it.
		if !waits(e.Syscall) && e.Syscall.Start > 0 && e.Syscall.Start <= e.T {
			t = e.Syscall.Start
		}
		if e.Syscall.Socket != nil {
			b.socket(e, e.Syscall.Socket.Cookie)
		}
	case e.Sockets != nil:
		for _, row := range e.Sockets.Rows {
			b.listed(e, row)
		}
	case e.State != nil:
		b.states++
		if i := b.socket(e, e.State.Cookie); i >= 0 {
			b.ladder.Sockets[i].traced = true
		}
	case e.Reset != nil:
		b.ofReset(e)
	case e.Segment != nil:
		b.traffic.add(e)
	}
	b.moments = append(b.moments, moment{t, e})
}

func (b *builder) header(h *journal.Header) {
	l := &b.ladder
	l.Title = visible(cmp.Or(h.Scenario.Title.EN, h.Scenario.Name))
	b.warped = h.Warped()
	if h.Machine.Kernel != "" {
		l.Facts = append(l.Facts, visible("Linux "+h.Machine.Kernel))
	}
	if b.warped {
		l.Facts = append(l.Facts, "virtual time")
	}
	if day, _, _ := strings.Cut(h.Started, "T"); day != "" {
		l.Facts = append(l.Facts, visible(day))
	}
}

func (b *builder) host(e *journal.Event) {
	i := b.lane(e.Host)
	if i < 0 {
		return
	}
	h := &b.ladder.Hosts[i]
	for _, p := range e.Change.Addresses {
		h.Addresses = append(h.Addresses, p.Addr().String())
	}
}

// lane is the lane of a host, -1 for no host or one too many.
func (b *builder) lane(name string) int {
	if name == "" {
		return -1
	}
	i, ok := b.hosts[name]
	if !ok {
		i = len(b.ladder.Hosts)
		if i >= mostLanes {
			i = -1
			b.note("The host %s has no lane: this picture has room for %d.", name, mostLanes)
		} else {
			b.ladder.Hosts = append(b.ladder.Hosts, Host{Name: visible(name)})
		}
		b.hosts[name] = i
	}
	return i
}

// rows goes through the moments and makes the rows.
func (b *builder) rows() {
	for _, m := range b.moments {
		b.row(m)
	}
}

// idle makes a row of the time before t in which nothing was recorded but socket
// tables that tell nothing new, if it was long.
func (b *builder) idle(t int64) {
	l := &b.ladder
	if len(l.Rows) > 0 {
		last := l.Rows[len(l.Rows)-1].T
		if t-last >= fold {
			text := seconds(t-last) + ", nothing happened"
			if b.looks > 0 {
				text += fmt.Sprintf(" (%s, no change)", count(b.looks, "socket table"))
			}
			l.Rows = append(l.Rows, Row{Kind: FoldRow, T: last, Host: -1, Text: text})
		}
	}
	b.looks = 0
}

// put appends a row and returns its index.
func (b *builder) put(m moment, r Row) int {
	b.idle(m.t)
	r.T, r.N = m.t, m.e.N
	r.Text, r.Detail = visible(r.Text), visible(r.Detail)
	b.ladder.Rows = append(b.ladder.Rows, r)
	i := len(b.ladder.Rows) - 1
	for _, s := range r.Sockets {
		b.touch(s, i)
	}
	if r.Process != nil {
		if r.Process.First < 0 {
			r.Process.First = i
		}
		r.Process.Last = i
	}
	return i
}

// row makes the rows of a moment, if it has any.
func (b *builder) row(m moment) {
	e, host := m.e, b.lane(m.e.Host)
	switch {
	case e.StepRun != nil:
		b.step(m)
	case e.Process != nil:
		b.process(m, host)
	case e.Syscall != nil:
		b.call(m, host)
	case e.State != nil:
		b.state(m, host)
	case e.Sockets != nil:
		rows := len(b.ladder.Rows)
		if b.table(m, host); len(b.ladder.Rows) == rows {
			b.looks++
		}
	case e.Reset != nil:
		b.reset(m, host)
	case e.Segment != nil:
		b.segment(m, host)
	case e.Change != nil:
		b.put(m, Row{Kind: HostRow, Host: host, Text: changeText(e.Change), Detail: e.Host})
	case e.Loss != nil:
		text := fmt.Sprintf("%s lost by %s: what they would have shown is missing here", count(e.Loss.Count, "event"), e.Loss.Observer)
		b.put(m, Row{Kind: NoteRow, Host: -1, Bad: true, Text: text})
		b.lost = append(b.lost, fmt.Sprintf("%s lost by %s", count(e.Loss.Count, "event"), e.Loss.Observer))
	case e.Note != nil:
		b.put(m, Row{Kind: NoteRow, Host: -1, Text: e.Note.Text})
	case e.LabInfo != nil:
		b.put(m, Row{Kind: NoteRow, Host: -1, Text: strings.TrimSuffix(fmt.Sprintf("the lab ends: %s: %s", e.LabInfo.Verdict, e.LabInfo.Error), ": ")})
	}
}

// long is a duration in words, labelled where the run's clock was warped.
func (b *builder) long(ns int64) string {
	if b.warped {
		return journal.Virtual(ns)
	}
	return journal.Duration(ns)
}

func (b *builder) step(m moment) {
	s := m.e.StepRun
	r := Row{Kind: StepRow, Host: -1, Step: s.Index, Text: cmp.Or(s.Title.EN, s.ID), Mark: "…"}
	if end := b.steps[s.Index]; end != nil {
		r.Mark = map[journal.Verdict]string{journal.Pass: "✓", journal.Fail: "✗", journal.Error: "✗"}[end.Verdict]
		r.Bad = end.Verdict == journal.Fail || end.Verdict == journal.Error
		r.Detail = fmt.Sprintf("%s: %s, took %s", s.ID, end.Verdict, b.long(end.Duration))
	}
	b.put(m, r)
}

func (b *builder) process(m moment, host int) {
	e, p := m.e, m.e.Process
	proc := b.proc(e, host)
	name := processName(e)
	switch p.Phase {
	case journal.PhaseStart:
		text, detail := name+" starts", strings.Join(p.Argv, " ")
		if p.Parent != 0 {
			text += fmt.Sprintf(", forked by process %d", p.Parent)
		} else if len(p.Argv) > 1 {
			text += ": " + strings.Join(p.Argv[1:], " ")
		}
		b.put(m, Row{Kind: ProcessRow, Host: host, Process: proc, Text: text, Detail: detail})
	case journal.PhaseOutput:
		b.put(m, Row{Kind: OutputRow, Host: host, Process: proc, Text: e.Program + ": " + p.Line, Detail: name + ", " + p.Stream})
	case journal.PhaseSignal:
		b.put(m, Row{Kind: ProcessRow, Host: host, Process: proc, Text: p.Signal + " to " + name})
	case journal.PhaseExit:
		text := name + " is gone"
		switch {
		case p.Signal != "":
			text = name + " is ended by " + p.Signal
		case p.Exit != nil:
			text = fmt.Sprintf("%s exits with code %d", name, *p.Exit)
		}
		b.put(m, Row{Kind: ProcessRow, Host: host, Process: proc, Text: text})
		proc.Ended = true
	}
}

// proc is the process of an event. A process number given out anew, after the
// old one was seen to end, is another process.
func (b *builder) proc(e *journal.Event, host int) *Process {
	p := b.processes[e.PID]
	if p == nil || p.Ended && e.Process != nil && e.Process.Phase == journal.PhaseStart {
		p = &Process{Program: visible(e.Program), PID: e.PID, Host: host, First: -1, Last: -1}
		b.processes[e.PID] = p
		b.ladder.Processes = append(b.ladder.Processes, p)
	}
	return p
}

func (b *builder) call(m moment, host int) {
	e, c := m.e, m.e.Syscall
	proc := b.proc(e, host)
	proc.calls = true
	r := Row{Kind: CallRow, Host: host, Process: proc, Bad: c.Failed()}
	name := "fd " + fmt.Sprint(c.FD)
	if c.Socket != nil {
		if i := b.socket(e, c.Socket.Cookie); i >= 0 {
			r.Sockets = []int{i}
			name = b.ladder.Sockets[i].Name
		}
	}
	r.Text = processName(e) + " " + callText(c, name)
	r.Detail = b.callDetail(e)
	if x, ok := b.history.Refusal(e.N); ok && c.Failed() {
		for _, h := range x.Holders[:min(mostNews, len(x.Holders))] {
			if i := b.listed(e, h.Socket); i >= 0 {
				r.Holders = append(r.Holders, i)
			}
		}
		r.Detail += ". " + x.String()
	}
	b.put(m, r)
}

func (b *builder) segment(m moment, host int) {
	f := b.traffic.flights[m.e.N]
	if f == nil {
		return
	}
	s := m.e.Segment
	b.traffic.watched[host] = true
	kind := SegmentRow
	if !s.Out {
		kind = ArriveRow
	}
	sockets := append(slices.Clone(b.pairs[pair{unmap(s.From), unmap(s.To)}]), b.pairs[pair{unmap(s.To), unmap(s.From)}]...)
	i := b.put(m, Row{Kind: kind, Host: host, Text: f.Label, Detail: segmentDetail(m.e), Segment: &f.Segment, Sockets: sockets,
		Bad: slices.Contains(s.Flags, "RST")})
	if s.Out {
		f.Out, f.From = i, host
	} else {
		f.In, f.To = i, host
	}
}

func (b *builder) finish() {
	l := &b.ladder
	if len(b.traffic.flights) == 0 {
		b.note("No segments were recorded: no arrows are drawn.")
	}
	if b.states == 0 {
		b.note("Changes of state were not recorded: a bar shows, dashed, what socket tables listed at the times they were read, and a dotted line where nothing is known.")
	}
	mute := map[string]bool{}
	for _, p := range l.Processes {
		if !p.calls && !mute[p.Program] {
			mute[p.Program] = true
			b.note("No calls of %s were recorded.", p.Program)
		}
	}
	for _, lost := range b.lost {
		b.note("%s: the picture has gaps.", lost)
	}
	for i := range l.Rows {
		s := l.Rows[i].Segment
		if s == nil || l.Rows[i].Kind != SegmentRow {
			continue
		}
		if s.In < 0 {
			s.To = l.other(s.From)
			s.Lost = b.traffic.watched[s.To] && len(b.lost) == 0
			l.Rows[i].Detail += ". Its arrival was not recorded"
		}
	}
}

// other is the lane at the other end of the link.
func (l *Ladder) other(lane int) int {
	if len(l.Hosts) < 2 || lane < 0 {
		return lane
	}
	return 1 - lane
}
