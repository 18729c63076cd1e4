package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/capture"
	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/sockdiag"
	"restartlab/labctl/internal/trace"
)

// lab is one experiment under way. The goroutine that plays its steps and the
// poller's share it under mu.
type lab struct {
	*inside
	ctx     context.Context
	plan    scenario.Lab
	network *netlab.Network
	zero    int64          // CLOCK_REALTIME at the journal's T of 0, as of the lab's begin
	born    int64          // T of the lab's begin
	taps    []*capture.Tap // of the hosts whose segments are recorded

	mu        sync.Mutex
	wake      chan struct{} // holds one token when something has happened
	diag      map[string]*sockdiag.Conn
	traces    map[string]*trace.Host // empty where there is no exact layer
	inferred  map[string]*inference  // of the hosts whose state changes are worked out
	history   explain.History
	processes []*process
	open      map[string]*process // who made or was given a socket of the scenario
	cookies   map[string]uint64   // of those sockets, each by its name
	turn      bool                // see crowd; only for the goroutine that plays the steps
	patience  time.Duration       // how long it may wait and keep its turn
	binds     bool                // it only binds: see binds.go
	happened  int                 // counts notify
	tabled    map[string]bool     // hosts whose table of this step is journalled
	began     map[string]int64    // when each step began, by id
	spans     []span              // the steps that began, in order
	closing   bool                // no program is started any more
	visits    sync.WaitGroup      // of those who started one by hand
}

// run builds the lab, plays it and takes it down. All that it has to say it
// says in the journal.
func (in *inside) run(ctx context.Context, plan scenario.Lab) {
	l := &lab{inside: in, ctx: ctx, plan: plan, wake: make(chan struct{}, 1),
		diag: map[string]*sockdiag.Conn{}, traces: map[string]*trace.Host{}, began: map[string]int64{}, open: map[string]*process{}, cookies: map[string]uint64{}, inferred: map[string]*inference{}, patience: patience}
	if in.joined == nil && in.door == nil {
		var host scenario.Host
		if host, l.binds = onlyBinds(&l.plan); l.binds {
			l.plan.Hosts = []scenario.Host{host}
		}
	}
	l.crowd.take(true)
	l.turn = true
	defer l.rest()
	if ctx.Err() != nil {
		return // it never began, and is not in the journal
	}
	t, wall := l.clocks()
	l.zero, l.born = wall-t, t
	l.record(journal.Event{T: t, Kind: journal.KindLab,
		LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Wall: wall, Port: plan.Port, Steps: len(plan.Steps), Plan: planned(plan.Steps), Cell: plan.Cell, Run: plan.Run}})
	end := journal.Lab{Phase: journal.PhaseEnd, Verdict: journal.Error}
	err := l.up()
	switch {
	case err != nil:
	case l.door != nil:
		end.Verdict, err = l.stay()
	default:
		end.Verdict, err = l.play()
	}
	err = errors.Join(err, l.down())
	switch missing := lack(err); {
	case missing != "":
		end.Verdict, end.Skipped = journal.Skipped, missing
	case err != nil:
		end.Verdict = journal.Error
		end.Error = err.Error()
		// Is it this lab, or any? An empty one tells.
		end.Refused = l.refused != nil || l.network == nil && netlab.Probe() != nil
	}
	t, end.Wall = l.clocks()
	l.noteClockSet(end.Wall - t)
	l.record(journal.Event{T: t, Kind: journal.KindLab, LabInfo: &end})
}

// up builds the hosts and journals what they are.
func (l *lab) up() error {
	if err := l.needsUsers(); err != nil {
		return err
	}
	network, err := l.hosts()
	if err != nil {
		return err
	}
	l.network = network
	for _, note := range network.Notes() {
		l.record(journal.Event{Kind: journal.KindNote, Note: &journal.Note{Text: note}})
	}
	for _, h := range l.plan.Hosts {
		host := network.Host(h.Name)
		captured := false
		err := host.Do(func() (err error) {
			l.diag[h.Name], err = sockdiag.Open()
			captured = !l.binds && l.capture(host)
			return err
		})
		if err != nil {
			return fmt.Errorf("open the socket tables of host %s: %w", h.Name, err)
		}
		l.infer(h.Name)
		sysctls, err := settings(host, h.Sysctls)
		if err != nil {
			return err
		}
		l.record(journal.Event{Kind: journal.KindHost, Host: h.Name, Change: &journal.Change{
			What: "up", Interface: host.Interface(), Addresses: host.Addresses(), Sysctls: sysctls, Segments: captured}})
	}
	if err := l.needsBound(); err != nil {
		return err
	}
	l.tellOfBefore()
	return l.watchHosts()
}

// hosts makes the hosts, or takes those that were there before.
func (l *lab) hosts() (network *netlab.Network, err error) {
	if l.refused != nil {
		return nil, l.refused
	}
	if l.joined != nil {
		return netlab.Join(l.plan.Hosts, l.joined)
	}
	if network, err = netlab.New(l.plan.Hosts); err != nil {
		return nil, fmt.Errorf("build the lab's hosts: %w", err)
	}
	return network, nil
}

// telling are the settings that decide what becomes of a port, recorded of every
// host. A kernel without one leaves it out.
var telling = [...]string{
	"net.core.somaxconn",
	"net.ipv4.ip_autobind_reuse",
	"net.ipv4.ip_local_port_range",
	"net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.tcp_abort_on_overflow",
	"net.ipv4.tcp_congestion_control",
	"net.ipv4.tcp_ehash_entries",
	"net.ipv4.tcp_fin_timeout",
	"net.ipv4.tcp_max_tw_buckets",
	"net.ipv4.tcp_migrate_req",
	"net.ipv4.tcp_rfc1337",
	"net.ipv4.tcp_syncookies",
	"net.ipv4.tcp_timestamps",
	"net.ipv4.tcp_tw_reuse",
	"net.ipv4.tcp_tw_reuse_delay",
}

// settings reads the telling settings of a host, and those that the scenario
// set.
func settings(host *netlab.Host, set []scenario.Sysctl) (map[string]string, error) {
	names := slices.Clone(telling[:])
	for _, s := range set {
		names = append(names, s.Name)
	}
	return host.Sysctls(names)
}

// play runs the steps in order until one does not hold.
func (l *lab) play() (journal.Verdict, error) {
	for i := range l.plan.Steps {
		s := &l.plan.Steps[i]
		l.pause(s)
		verdict, err := l.step(s)
		if verdict == journal.Pass {
			continue
		}
		for _, rest := range l.plan.Steps[i+1:] {
			e := opening(&rest)
			e.Phase, e.Verdict = journal.PhaseEnd, journal.Skipped
			l.record(journal.Event{Step: rest.Index, Kind: journal.KindStep, StepRun: e})
		}
		return verdict, err
	}
	return journal.Pass, nil
}

func planned(steps []scenario.Step) []journal.Planned {
	all := make([]journal.Planned, len(steps))
	for i := range steps {
		all[i] = journal.Planned{ID: steps[i].ID, Verb: steps[i].Verb, Title: steps[i].Title}
	}
	return all
}

func opening(s *scenario.Step) *journal.Step {
	object := cmp.Or(s.Program, s.Socket, s.Host)
	return &journal.Step{Phase: journal.PhaseBegin, Index: s.Index, ID: s.ID, Verb: s.Verb, Title: s.Title,
		Object: object, Line: s.Line, Within: int64(s.Within), Expected: s.Written}
}

// step plays one step and judges what it saw. The error is the lab's own, not
// that of the step.
func (l *lab) step(s *scenario.Step) (journal.Verdict, error) {
	begin := l.clock()
	l.mu.Lock()
	l.began[s.ID] = begin
	l.spans = append(l.spans, span{index: s.Index, from: begin})
	l.tabled = map[string]bool{}
	l.emit(journal.Event{T: begin, Kind: journal.KindStep, StepRun: opening(s)})
	l.mu.Unlock()

	l.patience = patienceOf(s)
	seen, err := l.act(s)
	l.patience = patience
	took := l.clock()
	l.work()
	l.flush()
	end, err := l.judge(s, seen, err, took)
	if inferErr := l.inferStates(); inferErr != nil && err == nil {
		err, end.Verdict = inferErr, journal.Error
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.emit(journal.Event{Kind: journal.KindStep, StepRun: end})
	l.spans[len(l.spans)-1].to = l.clock()
	return end.Verdict, err
}

// judge makes the end of a step of what was seen until took, and journals how the
// hosts are then.
func (l *lab) judge(s *scenario.Step, seen journal.Observed, err error, took int64) (*journal.Step, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := opening(s)
	end.Phase = journal.PhaseEnd
	end.Duration = took - l.began[s.ID]
	end.Observed = &seen
	seen.Took = took - l.since(s)
	switch {
	case l.ctx.Err() != nil:
		end.Verdict, err = journal.Incomplete, nil
	case err != nil:
		end.Verdict = journal.Error
		if lack(err) != "" {
			end.Verdict = journal.Skipped
		}
		seen.Failure = err.Error()
	default:
		end.Mismatches = s.Expect.Check(&seen)
		end.Verdict = journal.Pass
		if len(end.Mismatches) > 0 {
			end.Verdict = journal.Fail
		}
	}
	// Every line has an event of its own.
	seen.Lines = seen.Lines[max(0, len(seen.Lines)-shownLines):]
	if traceErr := l.flushTraces(); traceErr != nil && err == nil {
		err, end.Verdict = traceErr, journal.Error
	}
	for _, h := range l.plan.Hosts {
		if l.tabled[h.Name] {
			continue // what the step was judged by
		}
		if _, tableErr := l.table(h.Name, 0, "step", 0); tableErr != nil && err == nil {
			err, end.Verdict = tableErr, journal.Error
		}
	}
	return end, err
}

// shownLines is how many output lines a step's end repeats.
const shownLines = 200

// since is when the time that a step's took counts from began.
func (l *lab) since(s *scenario.Step) int64 {
	if s.Expect != nil && s.Expect.Took != nil && s.Expect.Took.Since != "" {
		return l.began[s.Expect.Took.Since]
	}
	return l.began[s.ID]
}

// down ends what still runs and lets the hosts go.
func (l *lab) down() error {
	const grace = 10 * time.Second
	l.ctx = context.Background() // cancelled or not, this is done
	err := l.part(l.clock() + int64(grace))
	l.mu.Lock()
	l.closing = true
	running := 0
	for _, p := range l.processes {
		if !p.exited {
			running++
			p.kill(unix.SIGKILL) // ESRCH: it has gone by itself
		}
	}
	l.mu.Unlock()
	if running > 0 {
		late := l.await(l.ctx, l.clock()+int64(grace), func() (bool, time.Duration) {
			for _, p := range l.processes {
				if !p.exited {
					return false, 0
				}
			}
			return true, 0
		})
		if late != nil {
			err = errors.Join(err, fmt.Errorf("end the lab's programs: killed, but not gone after %s", grace))
		}
	}
	l.visits.Wait() // of programs started by hand: their exits are told
	err = errors.Join(err, l.inferLast())
	l.endCapture()
	l.mu.Lock()
	defer l.mu.Unlock()
	err = errors.Join(err, l.endTraces())
	l.endInferring()
	for _, c := range l.diag {
		err = errors.Join(err, c.Close())
	}
	if l.network != nil {
		err = errors.Join(err, l.network.Close())
	}
	return err
}

// record writes an event for a caller that does not hold mu.
func (l *lab) record(e journal.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.emit(e)
}

// emit writes an event of this lab and returns its number. mu is held. T is now
// unless the event has its own.
func (l *lab) emit(e journal.Event) int {
	if e.T == 0 {
		e.T = l.clock()
	}
	e.Lab = l.plan.Name
	if e.Step == 0 {
		e.Step = l.stepAt(e.T)
	}
	e.N = l.journal.Write(e)
	l.history.Add(e)
	if i := l.inferred[e.Host]; i != nil {
		i.Add(e)
	}
	return e.N
}

// notify tells await that something has happened. mu is held.
func (l *lab) notify() {
	l.happened++
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// errDeadline says that what was awaited did not come in time.
var errDeadline = errors.New("deadline passed")

// await returns when done holds. It calls done, with mu held, at once, after
// each event of the lab's processes, and after the time that done asked to be
// called again in (0: only after events). deadline is on the journal's clock.
func (l *lab) await(ctx context.Context, deadline int64, done func() (ok bool, again time.Duration)) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	begin := l.clock()
	for {
		l.mu.Lock()
		ok, again := done()
		l.mu.Unlock()
		if ok {
			return nil
		}
		now := l.clock()
		left := time.Duration(deadline - now)
		if left <= 0 {
			return errDeadline
		}
		if again <= 0 || again > left {
			again = left
		}
		if kept := l.patience - time.Duration(now-begin); kept <= 0 {
			l.rest()
		} else if l.turn {
			again = min(again, kept)
		}
		timer.Reset(again)
		select {
		case <-l.wake:
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// table reads the socket table of a host, IPv4 and IPv6, and journals it. mu is
// held. A port other than 0 limits it to that local port.
func (l *lab) table(host string, port uint16, reason string, after int) ([]journal.Socket, error) {
	t, err := l.readTable(host, port)
	t.Reason, t.After = reason, after
	l.emitTable(host, &t, err)
	return t.Rows, err
}

// readTable reads it and journals nothing. mu is held.
func (l *lab) readTable(host string, port uint16) (journal.Sockets, error) {
	start := l.clock()
	rows, err := l.diag[host].Table(port)
	if err != nil {
		err = fmt.Errorf("read the socket table of host %s: %w", host, err)
	}
	return journal.Sockets{Port: port, Rows: rows, Duration: l.clock() - start}, err
}

// emitTable journals a table as it was read. mu is held.
func (l *lab) emitTable(host string, t *journal.Sockets, err error) {
	t.Unlisted = l.diag[host].Unlisted()
	t.Rows = l.ownRows(t.Rows)
	if err != nil {
		t.Error = err.Error()
	}
	if t.Rows == nil {
		t.Rows = []journal.Socket{}
	}
	l.emit(journal.Event{Kind: journal.KindSockets, Host: host, Sockets: t})
	if t.Reason == "step" {
		l.tabled[host] = true
	}
}

// holders reads the table right after a refused bind or listen, event n, and
// tallies what holds the port. mu is held.
func (l *lab) holders(host string, n int, refused journal.Event) map[string]int {
	port := refused.Syscall.Args.Address.Port()
	if port == 0 && refused.Syscall.Socket != nil {
		port = refused.Syscall.Socket.Local.Port()
	}
	var t journal.Sockets
	var err error
	if l.datagrams(refused.Syscall.Of) {
		t.UDP, t.Port = true, port
		t.Rows, err = l.diag[host].UDP(port)
	} else if t, err = l.readTable(host, port); err == nil {
		l.addBindings(host, t.Rows)
	}
	t.Reason, t.After = "refused", n
	l.emitTable(host, &t, err)
	if err != nil {
		return nil // not seen: the table's event tells why
	}
	refused.N, refused.Lab = n, l.plan.Name
	tally := map[string]int{}
	for _, h := range l.history.Holders(refused, t.Rows) {
		tally[h.Socket.State]++
	}
	return tally
}

// find is the newest run of a program; nil if it never ran. mu is held.
func (l *lab) find(program string) *process {
	for i := len(l.processes) - 1; i >= 0; i-- {
		p := l.processes[i]
		if p.spec.Name == program && (p.parent == nil || p.parent.spec.Name != program) {
			return p
		}
	}
	return nil
}

func (l *lab) program(name string) *scenario.Program {
	for i := range l.plan.Programs {
		if l.plan.Programs[i].Name == name {
			return &l.plan.Programs[i]
		}
	}
	return nil
}

// tally counts the sockets on the lab's port by state, and the connections that
// no program has accepted: those without an inode (sock_i_ino is 0 until
// accept() gives the socket a file). Bound-inactive sockets do not count, since
// not every kernel lists them.
func (l *lab) tally(rows []journal.Socket) (states map[string]int, queued int) {
	states = map[string]int{}
	for _, r := range rows {
		if r.Local.Port() != l.plan.Port || r.State == "BOUND" {
			continue
		}
		states[r.State]++
		if r.Inode == 0 && (r.State == "ESTABLISHED" || r.State == "CLOSE_WAIT") {
			queued++
		}
	}
	return states, queued
}
