package runner

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// act does what the step's verb says and returns what was seen. An error is the
// lab's own; what the step's object did wrong is in Observed.Failure.
func (l *lab) act(s *scenario.Step) (journal.Observed, error) {
	switch s.Verb {
	case scenario.VerbStart:
		return l.start(s, false)
	case scenario.VerbRun:
		return l.start(s, true)
	case scenario.VerbStop:
		return l.stop(s), nil
	case scenario.VerbSignal:
		return l.signal(s), nil
	case scenario.VerbWait:
		return l.wait(s)
	case scenario.VerbNetstat:
		return l.netstat(s)
	case scenario.VerbSysctl:
		return l.sysctl(s)
	case scenario.VerbLink:
		return l.link(s), nil
	}
	if play := onSockets[s.Verb]; play != nil {
		return play(l, s)
	}
	return journal.Observed{}, fmt.Errorf("this labctl knows no verb %q", s.Verb)
}

// start runs a program until it is ready or, with toEnd, until it has exited.
// Ready is: a server listens, a client has made all its connections, an exec
// shows what its ready says.
func (l *lab) start(s *scenario.Step, toEnd bool) (journal.Observed, error) {
	spec := l.program(s.Program)
	l.mu.Lock()
	old := l.find(s.Program)
	busy := old != nil && !old.exited
	l.mu.Unlock()
	if busy {
		return journal.Observed{Failure: fmt.Sprintf("%s already runs, as process %d: stop it first", s.Program, old.pid)}, nil
	}
	ready := l.readiness(spec, s.Expect)
	p, err := l.launch(spec)
	if err != nil {
		if spec.Exec != nil {
			return journal.Observed{Failure: err.Error()}, nil // the user's own program
		}
		return journal.Observed{}, err
	}
	var shown string
	var tableErr error
	err = l.await(l.ctx, l.began[s.ID]+int64(s.Within), func() (bool, time.Duration) {
		if toEnd {
			return p.exited, 0
		}
		var again time.Duration
		shown, again, tableErr = ready(p)
		over := p.exited && !(spec.Exec != nil && p.exit != nil && *p.exit == 0) // 0: it may have left a daemon
		return shown != "" || over || tableErr != nil, again
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := p.seen()
	if spec.Exec != nil {
		seen.Ready = shown
	}
	switch {
	case err == errDeadline && toEnd:
		seen.Failure = fmt.Sprintf("%s did not exit within %s", s.Program, s.Within)
	case err == errDeadline:
		seen.Failure = fmt.Sprintf("%s was not ready within %s: %s", s.Program, s.Within, notReady(spec))
		if p.exited {
			seen.Failure += "; " + p.end()
		}
	case p.refusal != "":
		seen.Failure = p.refusal
	case shown != "" && spec.Exec != nil:
	case p.exited && (p.signal != "" || *p.exit != 0):
		seen.Failure = p.end()
	case p.exited && !toEnd && shown == "" && spec.Client == nil:
		seen.Failure = p.end() + " before it was ready: " + notReady(spec)
	}
	if seen.Failure != "" && !toEnd && spec.Exec != nil && spec.Exec.Ready.Port != 0 {
		seen.Failure += l.onPort(spec.Host, spec.Exec.Ready.Port)
	}
	return seen, tableErr
}

// onPort says which sockets are on a port now: what may have refused the bind of
// a program whose calls are not recorded. mu is held.
func (l *lab) onPort(host string, port uint16) string {
	rows, err := l.diag[host].Table(port)
	if err != nil || len(rows) == 0 {
		return ""
	}
	const most = 3
	var there []string
	for _, r := range rows[:min(len(rows), most)] {
		text := r.State + " " + r.Local.String()
		if r.Remote.IsValid() {
			text += " -> " + r.Remote.String()
		}
		there = append(there, text)
	}
	if more := len(rows) - most; more > 0 {
		there = append(there, fmt.Sprintf("%d more", more))
	}
	return fmt.Sprintf("; on port %d of %s then: %s", port, host, strings.Join(there, ", "))
}

// notReady says what was waited for.
func notReady(spec *scenario.Program) string {
	switch {
	case spec.Client != nil:
		return "not all its connections were made"
	case spec.Exec != nil && spec.Exec.Ready.Line != "":
		return fmt.Sprintf("it did not print %q", spec.Exec.Ready.Line)
	case spec.Exec != nil:
		return fmt.Sprintf("nothing new listened on port %d", spec.Exec.Ready.Port)
	}
	return "it did not listen"
}

// readiness returns a function that tells, with mu held, what shows that the
// process is ready (empty: not yet), and when to look again. Called before the
// start, it remembers who listened before.
func (l *lab) readiness(spec *scenario.Program, want *scenario.Expect) func(*process) (string, time.Duration, error) {
	// Lines that the step expects are part of being ready, and so is what the
	// server says of itself: they come a moment after listen() has returned.
	printed := func(p *process, also ...string) bool {
		e := scenario.Expect{Lines: also}
		if want != nil {
			e.Lines = append(e.Lines, want.Lines...)
		}
		return len(e.Check(&journal.Observed{Lines: p.lines})) == 0
	}
	switch {
	case spec.Server != nil:
		return func(p *process) (shown string, _ time.Duration, _ error) {
			if p.listen == "ok" && len(p.lines) > 0 && printed(p) {
				shown = "listen"
			}
			return shown, 0, nil
		}
	case spec.Client != nil:
		return func(p *process) (shown string, _ time.Duration, _ error) {
			if p.connected == spec.Client.Count && printed(p) {
				shown = "connect"
			}
			return shown, 0, nil
		}
	case spec.Exec.Ready.Line != "":
		return func(p *process) (shown string, _ time.Duration, _ error) {
			if printed(p, spec.Exec.Ready.Line) {
				shown = "line"
			}
			return shown, 0, nil
		}
	}
	before := map[uint64]bool{}
	for _, r := range l.listeners(spec) {
		before[r.Cookie] = true
	}
	var pace backoff
	return func(p *process) (shown string, again time.Duration, err error) {
		rows, err := l.diag[spec.Host].Table(spec.Exec.Ready.Port)
		if err != nil {
			return "", 0, fmt.Errorf("read the socket table of host %s: %w", spec.Host, err)
		}
		for _, r := range rows {
			if r.State == "LISTEN" && !before[r.Cookie] && printed(p) {
				shown = "LISTEN on " + r.Local.String()
			}
		}
		return shown, pace.next(usual), nil
	}
}

func (l *lab) listeners(spec *scenario.Program) (rows []journal.Socket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, err := l.diag[spec.Host].Table(spec.Exec.Ready.Port)
	if err != nil {
		return nil // the next look says so
	}
	for _, r := range all {
		if r.State == "LISTEN" {
			rows = append(rows, r)
		}
	}
	return rows
}

// seen is what the process has shown so far, in the words of expectations. mu
// is held.
func (p *process) seen() journal.Observed {
	return journal.Observed{Bind: p.bind, Listen: p.listen, Connect: p.connect, Holders: p.holders,
		Exit: p.exit, Signal: p.signal, Lines: p.lines[:len(p.lines):len(p.lines)], Unkept: p.unkept}
}

// end says how the process ended.
func (p *process) end() string {
	if p.signal != "" {
		return fmt.Sprintf("%s was ended by %s", p.spec.Name, p.signal)
	}
	if p.exit == nil {
		return p.spec.Name + " is gone"
	}
	return fmt.Sprintf("%s exited with code %d", p.spec.Name, *p.exit)
}

// stop signals a program and waits for its exit.
func (l *lab) stop(s *scenario.Step) journal.Observed {
	seen, p := l.send(s)
	if p == nil {
		return seen
	}
	err := l.await(l.ctx, l.began[s.ID]+int64(s.Within), func() (bool, time.Duration) { return p.exited, 0 })
	l.mu.Lock()
	defer l.mu.Unlock()
	seen = p.seen()
	seen.Bind, seen.Listen, seen.Connect, seen.Holders = "", "", "", nil // of its start
	if err == errDeadline {
		seen.Failure = fmt.Sprintf("%s did not exit within %s of %s", s.Program, s.Within, s.Signal)
	}
	return seen
}

// signal only signals.
func (l *lab) signal(s *scenario.Step) journal.Observed {
	seen, _ := l.send(s)
	return seen
}

// send signals the newest run of the step's program; the process is nil if that
// failed.
func (l *lab) send(s *scenario.Step) (journal.Observed, *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.find(s.Program)
	if p == nil {
		return journal.Observed{Result: "ESRCH", Failure: s.Program + " was never started"}, nil
	}
	if err := p.kill(unix.SignalNum(s.Signal)); err != nil {
		failure := fmt.Sprintf("send %s to %s: %v", s.Signal, s.Program, err)
		if p.exited {
			failure = fmt.Sprintf("%s does not run: %s", s.Program, p.end())
		}
		return journal.Observed{Result: errnoName(err), Failure: failure}, nil
	}
	return journal.Observed{Result: "ok"}, p
}

// sysctl changes settings of a host, in order, up to the first refusal.
func (l *lab) sysctl(s *scenario.Step) (journal.Observed, error) {
	now := map[string]string{}
	seen := journal.Observed{Result: "ok"}
	var lacks error
	for _, v := range s.Sysctls {
		value, err := l.network.Host(s.Host).SetSysctl(v.Name, v.Value)
		if err != nil {
			seen.Result, seen.Failure = errnoName(err), err.Error()
			lacks = err
			break
		}
		now[v.Name] = value
	}
	if len(now) > 0 {
		l.record(journal.Event{Kind: journal.KindHost, Host: s.Host, Change: &journal.Change{What: "sysctl", Sysctls: now}})
	}
	if lack(lacks) != "" && !counts(s.Expect) {
		return seen, lacks
	}
	return seen, nil
}

// link takes a host's interface up or down.
func (l *lab) link(s *scenario.Step) journal.Observed {
	h := l.network.Host(s.Host)
	if err := h.SetLink(s.State == "up"); err != nil {
		return journal.Observed{Result: errnoName(err), Failure: err.Error()}
	}
	l.record(journal.Event{Kind: journal.KindHost, Host: s.Host,
		Change: &journal.Change{What: "link", Interface: h.Interface(), State: s.State}})
	return journal.Observed{Result: "ok"}
}

// netstat looks at a host's table once.
func (l *lab) netstat(s *scenario.Step) (journal.Observed, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, err := l.table(s.Host, 0, "step", 0)
	if err != nil {
		return journal.Observed{}, err
	}
	states, queued := l.tally(rows)
	return journal.Observed{States: states, Queued: &queued}, nil
}

// errnoName is the name of the kernel's answer, or "error" for one that the
// kernel never saw.
func errnoName(err error) string {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return unix.ErrnoName(errno)
	}
	return "error"
}
