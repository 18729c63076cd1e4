package report

import (
	"errors"
	"fmt"
	"slices"

	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/ladder"
)

// mostSteps bounds how many steps a journal may claim to have; a scenario has
// at most 10,000.
const mostSteps = 100_000

// Build makes the report of a journal, whole or cut short. Its events must be
// those of one lab, the header first.
func Build(events []journal.Event) (*Report, error) {
	if len(events) == 0 || events[0].Header == nil {
		return nil, journal.ErrNotJournal
	}
	b := builder{report: newReport(events[0].Header), processes: map[int]int{}, partial: map[stream]bool{}}
	lab, found := "", false
	for _, e := range events[1:] {
		if e.Lab != "" && found && e.Lab != lab {
			return nil, fmt.Errorf("the journal holds several labs (%s and %s); this labctl reports one lab a journal", lab, e.Lab)
		}
		if e.Lab != "" {
			lab, found = e.Lab, true
		}
		b.add(e)
	}
	if len(b.steps) > mostSteps || b.planned > mostSteps {
		return nil, errors.New("the journal claims more steps than a scenario can have")
	}
	r := b.finish()
	if lab != r.Scenario.Name {
		r.Lab = lab
	}
	r.ladder = ladder.Build(events)
	return r, nil
}

func newReport(h *journal.Header) *Report {
	s, m := h.Scenario, h.Machine
	return &Report{
		Schema: SchemaVersion, Author: h.Author, Verdict: journal.Incomplete,
		Scenario: Scenario{Name: s.Name, File: s.File, Digest: s.Digest, Title: s.Title, Lesson: s.Lesson, Set: s.Set, Command: s.Command, Joined: s.Joined, Live: s.Live},
		Environment: Environment{Kernel: m.Kernel, KernelBuild: m.KernelBuild, Arch: m.Arch, HZ: m.HZ, CPUs: m.CPUs, OS: m.OS,
			Labctl: h.Labctl, Rootless: h.Rootless, Guest: h.Guest, Started: h.Started, Sysctls: map[string]map[string]string{}, Hosts: []Host{}},
		Steps: []Step{}, Binds: []Bind{}, Sockets: []Table{}, Processes: []Process{}, Events: []Event{}, Notes: []Note{},
	}
}

// builder fills a report event by event.
type builder struct {
	report    *Report
	history   explain.History
	planned   int // steps of the plan
	plan      []journal.Planned
	steps     []Step // seen, in the order of their begin
	processes map[int]int
	partial   map[stream]bool // the last line of it goes on
	current   int             // the step begun last
	began     int64
	last      int64
	states    int // state events
	inferred  int // those of them that are not the kernel's own word
	segments  int
	lost      int
}

type stream struct {
	pid  int
	name string
}

func (b *builder) add(e journal.Event) {
	r := b.report
	b.history.Add(e)
	b.last = max(b.last, e.T)
	if e.StepRun != nil && e.StepRun.Phase == journal.PhaseBegin {
		b.current = e.StepRun.Index
	}
	if e.Step == 0 { // between two steps
		e.Step = b.current
	}
	switch {
	case e.State != nil:
		b.states++
		if e.State.Source != journal.SourceKernel {
			b.inferred++
		}
	case e.Segment != nil:
		b.segments++
	case e.Loss != nil:
		b.lost += max(0, e.Loss.Count)
	}
	r.Events = append(r.Events, Event{N: e.N, T: e.T, Step: e.Step, Kind: e.Kind, Host: e.Host, Program: e.Program,
		PID: e.PID, Text: text(e), Failed: e.Syscall != nil && e.Syscall.Failed()})
	switch {
	case e.LabInfo != nil:
		b.lab(e)
	case e.Change != nil:
		b.change(e)
	case e.StepRun != nil:
		b.step(e)
	case e.Process != nil:
		b.process(e)
	case e.Syscall != nil:
		b.call(e)
	case e.Sockets != nil:
		s := e.Sockets
		rows := s.Rows
		if rows == nil {
			rows = []journal.Socket{}
		}
		r.Sockets = append(r.Sockets, Table{N: e.N, T: e.T, Step: e.Step, Host: e.Host, Reason: s.Reason, After: s.After,
			Port: s.Port, Rows: rows, Unlisted: s.Unlisted, Error: s.Error})
	case e.Prediction != nil:
		r.Predictions = append(r.Predictions, *e.Prediction)
	case e.Note != nil:
		r.Notes = append(r.Notes, Note{e.N, e.T, e.Note.Text})
	}
}

func (b *builder) lab(e journal.Event) {
	r := b.report
	switch e.LabInfo.Phase {
	case journal.PhaseBegin:
		r.Port, b.planned, b.plan, b.began = e.LabInfo.Port, e.LabInfo.Steps, e.LabInfo.Plan, e.T
	case journal.PhaseEnd:
		r.Verdict, r.Error, r.Duration = e.LabInfo.Verdict, e.LabInfo.Error, max(0, e.T-b.began)
	}
}

func (b *builder) change(e journal.Event) {
	if e.Change.What != "up" {
		return
	}
	h := Host{Name: e.Host, Interface: e.Change.Interface, Addresses: []string{}, Segments: e.Change.Segments}
	for _, a := range e.Change.Addresses {
		h.Addresses = append(h.Addresses, a.String())
	}
	env := &b.report.Environment
	env.Hosts = append(env.Hosts, h)
	if e.Change.Sysctls != nil {
		env.Sysctls[e.Host] = e.Change.Sysctls
	}
}

func (b *builder) step(e journal.Event) {
	s := e.StepRun
	i := slices.IndexFunc(b.steps, func(o Step) bool { return o.Index == s.Index })
	if i < 0 {
		i = len(b.steps)
		b.steps = append(b.steps, Step{virtual: b.report.warped(), Index: s.Index, ID: s.ID, Verb: s.Verb, Title: s.Title, Object: s.Object, Line: s.Line,
			Expected: s.Expected, Status: journal.Incomplete, T: e.T, reached: true})
	}
	if s.Phase == journal.PhaseEnd {
		o := &b.steps[i]
		o.Status, o.Observed, o.Mismatches, o.Duration = s.Verdict, s.Observed, s.Mismatches, s.Duration
	}
}

func (b *builder) process(e journal.Event) {
	r, p := b.report, e.Process
	i, known := b.processes[e.PID]
	if p.Phase == journal.PhaseStart || !known {
		i = len(r.Processes)
		b.processes[e.PID] = i
		argv := p.Argv
		if argv == nil {
			argv = []string{}
		}
		r.Processes = append(r.Processes, Process{Program: e.Program, Host: e.Host, PID: e.PID, Parent: p.Parent,
			Argv: argv, UID: p.UID, Start: e.T, Output: []Line{}})
	}
	o := &r.Processes[i]
	switch p.Phase {
	case journal.PhaseOutput:
		key := stream{e.PID, p.Stream}
		if b.partial[key] {
			o.resume(p.Stream, p.Line)
		} else {
			o.Output = append(o.Output, Line{e.T, e.Step, p.Stream, p.Line})
		}
		b.partial[key] = p.Partial
	case journal.PhaseExit:
		t := e.T
		o.Ended, o.Exit, o.Signal = &t, p.Exit, p.Signal
	}
}

// resume goes on with the last line of a stream, which came in parts.
func (p *Process) resume(stream, text string) {
	for i := len(p.Output) - 1; i >= 0; i-- {
		if l := &p.Output[i]; l.Stream == stream {
			l.Text += text
			return
		}
	}
}

func (b *builder) call(e journal.Event) {
	c := e.Syscall
	if c.Name != "bind" && !(c.Name == "listen" && c.Failed()) {
		return
	}
	bind := Bind{N: e.N, T: e.T, Step: e.Step, Call: c.Name, Host: e.Host, Program: e.Program, PID: e.PID, Result: "ok"}
	at := c.Args.Address
	if s := c.Socket; s != nil {
		bind.Options = Options{s.ReuseAddr, s.ReusePort, s.V6Only}
		if !at.IsValid() {
			at = s.Local
		}
	}
	if at.IsValid() {
		bind.Address, bind.Port = at.Addr().String(), at.Port()
	}
	if c.Failed() {
		bind.Result, bind.Errno = c.Errno, c.Number
	}
	b.report.Binds = append(b.report.Binds, bind)
}

func (b *builder) finish() *Report {
	r := b.report
	if r.Verdict == journal.Incomplete || r.Duration == 0 {
		r.Duration = max(0, b.last-b.began)
	}
	for i := range r.Binds {
		b.explain(&r.Binds[i])
	}
	r.Environment.States, r.Environment.Inferred = b.states, b.inferred
	r.Environment.Segments, r.Environment.Lost = b.segments, b.lost
	// A step that has no event was never reached.
	seen := map[int]bool{}
	for _, s := range b.steps {
		seen[s.Index] = true
	}
	r.Steps = append(r.Steps, b.steps...)
	for i := 1; i <= b.planned; i++ {
		if !seen[i] {
			s := Step{Index: i, Status: journal.Incomplete}
			if i <= len(b.plan) {
				s.ID, s.Verb, s.Title = b.plan[i-1].ID, b.plan[i-1].Verb, b.plan[i-1].Title
			}
			r.Steps = append(r.Steps, s)
		}
	}
	slices.SortStableFunc(r.Steps, func(a, b Step) int { return a.Index - b.Index })
	return r
}

// explain adds to a refused call what the history tells of it.
func (b *builder) explain(bind *Bind) {
	if bind.Result == "ok" {
		return
	}
	x, ok := b.history.Refusal(bind.N)
	if !ok {
		x = explain.Explanation{N: bind.N, Call: bind.Call, Errno: bind.Result, Number: bind.Errno,
			Clauses: []explain.Clause{{Text: "why is unknown: the run ended before the socket table was read"}}}
	}
	bind.Explanation, bind.Fix = x.String(), x.Fix
	for _, c := range x.Clauses {
		events := c.Events
		if events == nil {
			events = []int{}
		}
		bind.Clauses = append(bind.Clauses, Clause{c.Text, events})
	}
	for _, h := range x.Holders {
		s := h.Socket
		holder := Holder{State: s.State, Local: s.Local.String(), TimeLeft: s.TimeLeft, ReuseAddr: h.ReuseAddr,
			ReusePort: h.ReusePort, Program: h.Program, PID: h.PID, ClosedFirst: string(h.First)}
		if s.Remote.IsValid() {
			holder.Remote = s.Remote.String()
		}
		bind.Holders = append(bind.Holders, holder)
	}
}
