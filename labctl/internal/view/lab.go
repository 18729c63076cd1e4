package view

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/journal"
)

// lab is what the events have told of one lab so far.
type lab struct {
	name    string // of the events
	now     func() time.Time
	header  *journal.Header
	hosts   []host
	history explain.History
	names   int // columns for program names: the widest seen, at least "why"

	port       uint16
	steps      int // how many there are, 0 if not known
	plan       []journal.Planned
	begun, end int64 // ns; end is that of the newest event
	ended      int   // steps that passed, failed or broke
	lost       int   // events that observers lost
	result     *journal.Lab
	step       *step             // under way
	timers     map[string]runOut // host -> the end of its TIME_WAITs
	last       *step             // the one that ended last
	bad        *step             // the one that failed
	badEnd     *journal.Step
}

type host struct {
	name      string
	addresses []netip.Prefix
}

// step is a step from its begin on.
type step struct {
	begin *journal.Step
	want  wanted
	t     int64     // ns, when it began
	at    time.Time // the same by the live line's clock

	held    []string // its programs' output, ready to print, for below its line
	streams bool     // its line stands already: print as it comes

	host        string         // where its program was started, if it was
	inUse       bool           // its program printed the text of EADDRINUSE
	recorded    bool           // it has seen a call of that program
	local, peer netip.AddrPort // of the newest bind and connect
	signal      string         // the signal that the lab sent
	changes     []*journal.Change
	refused     []int             // numbers of refused binds and listens
	tables      map[string]*table // host -> newest table

	// timer is the state whose kernel timer runs longest in the newest table
	// of a wait, due when it runs out, total how long it ran when first seen.
	timer string
	due   time.Time
	total time.Duration
	left  time.Duration
}

// table is a socket table and why it may be worth printing.
type table struct {
	*journal.Sockets
	host  string
	asked bool // the step was about this table
}

// wanted is what the view needs of an expectation; what it cannot read it
// leaves out.
type wanted struct {
	set    bool // there is one, and not `any`
	states map[string]json.RawMessage
	lines  []string
	queued bool   // a number of connections is named
	exit   bool   // an exit code is named
	since  string // of took
	took   bool
}

func readWanted(raw json.RawMessage) wanted {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return wanted{}
	}
	w := wanted{set: len(fields) > 0}
	// A field of another shape than these stays empty, which is harmless.
	_ = json.Unmarshal(fields["states"], &w.states)
	_ = json.Unmarshal(fields["lines"], &w.lines)
	_, w.queued = fields["queued"]
	_, w.exit = fields["exit"]
	if raw, ok := fields["took"]; ok {
		var since struct{ Since string }
		_ = json.Unmarshal(raw, &since)
		w.took, w.since = true, since.Since
	}
	return w
}

func (l *lab) add(e journal.Event) {
	l.history.Add(e)
	l.end = max(l.end, e.T)
	l.names = max(l.names, len("why"), width(clean(e.Program)))
	switch {
	case e.Header != nil:
		l.header = e.Header
	case e.LabInfo != nil && e.LabInfo.Phase == journal.PhaseBegin:
		l.begun, l.steps, l.plan, l.port = e.T, e.LabInfo.Steps, e.LabInfo.Plan, e.LabInfo.Port
	case e.LabInfo != nil:
		l.result = e.LabInfo
	case e.StepRun != nil:
		l.addStep(e)
	case e.Loss != nil:
		l.lost += max(0, e.Loss.Count)
	case e.Change != nil && l.step == nil && e.Change.What == "up":
		l.hosts = append(l.hosts, host{e.Host, e.Change.Addresses})
	case l.step != nil:
		l.step.add(e, l.now())
	}
}

// losses says what a verdict does not rest on, for its line; empty if nothing was
// lost.
func (l *lab) losses() string {
	if l.lost == 0 {
		return ""
	}
	return fmt.Sprintf("; %s lost by the observers", count(l.lost, "event"))
}

func (l *lab) addStep(e journal.Event) {
	st := e.StepRun
	if st.Phase == journal.PhaseBegin {
		l.step = newStep(st, e.T, l.now())
		return
	}
	s := l.step
	if s == nil || s.begin.Index != st.Index {
		s = newStep(st, e.T, l.now()) // an end alone, as skipped steps have
	}
	l.step, l.last = nil, s
	switch st.Verdict {
	case journal.Pass:
		l.ended++
	case journal.Fail, journal.Error:
		l.ended++
		l.bad, l.badEnd = s, st
		// Why a program failed whose calls are not recorded, the table of
		// its host may tell.
		if t := s.tables[s.host]; t != nil && !s.recorded {
			t.asked = true
		}
	}
}

func newStep(st *journal.Step, t int64, at time.Time) *step {
	return &step{begin: st, want: readWanted(st.Expected), t: t, at: at, tables: map[string]*table{}}
}

func (s *step) add(e journal.Event, now time.Time) {
	switch {
	case e.Change != nil:
		s.changes = append(s.changes, e.Change)
	case e.Process != nil && e.Process.Phase == journal.PhaseStart && e.Program == s.begin.Object:
		s.host = e.Host
	case e.Process != nil && e.Process.Phase == journal.PhaseOutput && e.Program == s.begin.Object:
		line := strings.ToLower(e.Process.Line)
		s.inUse = s.inUse || strings.Contains(line, "address already in use") || strings.Contains(line, "eaddrinuse")
	case e.Process != nil && e.Process.Phase == journal.PhaseSignal:
		s.signal = e.Process.Signal
	case e.Syscall != nil:
		s.addCall(e)
	case e.Sockets != nil:
		s.addTable(e, now)
	}
}

func (s *step) addCall(e journal.Event) {
	c := e.Syscall
	s.recorded = s.recorded || e.Program == s.begin.Object
	switch c.Name {
	case "bind":
		s.local = c.Args.Address
		if c.Socket != nil && c.Socket.Local.IsValid() && !c.Failed() {
			s.local = c.Socket.Local // a bind to port 0 learns its port here
		}
	case "connect":
		s.peer = c.Args.Address
	}
	if c.Failed() && (c.Name == "bind" || c.Name == "listen") {
		s.refused = append(s.refused, e.N)
	}
}

func (s *step) addTable(e journal.Event, now time.Time) {
	t := &table{Sockets: e.Sockets, host: e.Host}
	switch s.begin.Verb {
	case "netstat", "wait":
		t.asked = s.begin.Object == e.Host
	}
	if e.Sockets.Reason == "refused" {
		t.asked = true
	}
	if old := s.tables[e.Host]; old != nil && old.Reason == "refused" {
		return // what refused the bind says more than what is left at the end
	}
	s.tables[e.Host] = t
	if e.Sockets.Reason == "wait" {
		s.addTimer(e.Sockets.Rows, now)
	}
}

// addTimer reads how long a wait must last at least: until the kernel lets the
// last TIME_WAIT go. A wait for sockets to come to TIME_WAIT is none of that.
func (s *step) addTimer(rows []journal.Socket, now time.Time) {
	s.timer, s.left = "", 0
	if _, named := s.want.states["TIME_WAIT"]; named || len(s.want.lines) > 0 {
		return
	}
	for _, r := range rows {
		if r.State != "TIME_WAIT" || r.TimeLeft == nil {
			continue
		}
		left := time.Duration(*r.TimeLeft) * time.Millisecond
		if s.timer == "" || left > s.left {
			s.timer, s.left = r.State, left
		}
	}
	s.due = now.Add(s.left)
	s.total = max(s.total, s.left)
}

// table is the one worth printing below the step's line, if any: of a refused
// bind, of a step about the table, and with all set of any step.
func (s *step) table(all bool) *table {
	for _, h := range slices.Sorted(maps.Keys(s.tables)) {
		if t := s.tables[h]; t.asked || all {
			return t
		}
	}
	return nil
}

// signature is equal for tables that tell the same but for the time left.
func signature(rows []journal.Socket) string {
	var b []byte
	for _, r := range rows {
		b = append(b, r.Family+r.State...)
		b = r.Local.AppendTo(append(b, ' '))
		b = r.Remote.AppendTo(append(b, ' '))
		b = fmt.Appendf(b, " %d %d\n", r.RecvQ, r.SendQ)
	}
	return string(b)
}
