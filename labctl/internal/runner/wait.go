package runner

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/sockdiag"
)

// backoff paces looks at what the kernel announces to nobody: from 1 ms,
// doubling up to a limit, so that a long wait costs next to nothing.
type backoff time.Duration

func (b *backoff) next(most time.Duration) time.Duration {
	*b = backoff(min(max(2*time.Duration(*b), time.Millisecond), most))
	return time.Duration(*b)
}

// wait returns when the step's until holds, or fails at its deadline.
func (l *lab) wait(s *scenario.Step) (journal.Observed, error) {
	switch {
	case s.For > 0:
		err := l.await(l.ctx, l.began[s.ID]+int64(s.For), func() (bool, time.Duration) { return false, 0 })
		if err == errDeadline {
			err = nil // that it passes is what is waited for
		}
		return journal.Observed{}, err
	case s.Program != "":
		return l.waitProgram(s), nil
	}
	return l.waitHost(s)
}

// waitProgram waits for output or the exit of the newest run of a program.
func (l *lab) waitProgram(s *scenario.Step) (seen journal.Observed) {
	over := false
	err := l.await(l.ctx, l.began[s.ID]+int64(s.Within), func() (bool, time.Duration) {
		p := l.find(s.Program)
		if p == nil {
			seen = journal.Observed{Failure: s.Program + " was never started"}
			return true, 0
		}
		seen = p.seen()
		seen.Bind, seen.Listen, seen.Connect, seen.Holders = "", "", "", nil // of its start
		missing := s.Until.Check(&seen)
		if len(missing) > 0 && p.exited {
			over = true
			seen.Failure = p.end() + "; " + wanted(missing)
		}
		return len(missing) == 0 || over, 0
	})
	if err == errDeadline {
		seen.Failure = fmt.Sprintf("not seen within %s; %s", s.Within, wanted(s.Until.Check(&seen)))
	}
	return seen
}

// waitHost waits for the socket table of a host to look as wanted.
func (l *lab) waitHost(s *scenario.Step) (journal.Observed, error) {
	w := watch{lab: l, step: s, host: s.Host}
	if s.Socket != "" {
		w.host = l.socket(s.Socket).Host
	}
	err := l.await(l.ctx, l.began[s.ID]+int64(s.Within), w.look)
	if w.err != nil {
		return w.seen, w.err
	}
	if err == errDeadline {
		w.seen.Failure = fmt.Sprintf("not seen within %s; %s", s.Within, wanted(s.Until.Check(&w.seen)))
	}
	return w.seen, nil
}

// watch is the wait for a host's socket table. Nothing tells of a change in it,
// so it looks again and again: soon after each event of the lab, then less often.
// The end of a TIME_WAIT is met to 2 ms (to 40 ms beside 1,000 other labs): the kernel tells when it is due, and
// from then on (its timer wheel may let it stay two more seconds) the socket
// alone is looked up.
type watch struct {
	lab      *lab
	step     *scenario.Step
	host     string
	seen     journal.Observed
	err      error
	pace     backoff
	happened int             // of the lab, at the last look
	shown    map[string]int  // the tally journalled last
	due      *journal.Socket // a TIME_WAIT whose time is over, still there
	next     int64           // when the whole table is to be read again, with due
}

// The times between two looks.
const (
	usual  = 100 * time.Millisecond // at what may change unseen
	seldom = time.Second            // when only recorded programs could change anything
	lookUp = 2 * time.Millisecond   // at one socket that is due, at 4 µs each

	// Where the clock jumps over idle time, looking is all that waiting costs, and
	// what is due is known. A timer ends with a tick of the kernel, and no tick is
	// shorter.
	seldomWarped = 10 * time.Second
	lookUpWarped = 4 * time.Millisecond
)

// rare is the time between two looks when only recorded programs could change
// anything.
func (l *lab) rare() time.Duration {
	if l.warped {
		return seldomWarped
	}
	return l.crowd.pace(seldom)
}

// close is the time between two looks at a socket of the host that is due. Where the
// clock is warped and the kernel tells of each change, that is waited for. mu is held.
func (l *lab) close(host string) time.Duration {
	switch {
	case l.warped && l.traces[host] != nil:
		return seldomWarped
	case l.warped:
		return lookUpWarped
	}
	return l.crowd.pace(lookUp)
}

// look is for await: mu is held.
func (w *watch) look() (done bool, again time.Duration) {
	l, host := w.lab, w.host
	if w.happened != l.happened {
		w.happened, w.pace, w.next = l.happened, 0, 0
	}
	if w.due != nil && l.clock() < w.next {
		_, err := l.diag[host].Lookup(w.due.Local, w.due.Remote)
		if err == nil {
			return false, l.close(host)
		}
		if !errors.Is(err, sockdiag.ErrNotFound) {
			w.err = fmt.Errorf("look for a socket of host %s: %w", host, err)
			return true, 0
		}
		if i := l.inferred[host]; i != nil {
			i.Gone(l.clock(), w.due.Cookie)
		}
	}
	// Most looks find nothing new: what is journalled is read whole.
	rows, err := l.diag[host].Glance(0)
	if err != nil {
		err = fmt.Errorf("read the socket table of host %s: %w", host, err)
	}
	var t journal.Sockets
	if err == nil && w.judge(rows) {
		if t, err = l.readTable(host, 0); err == nil {
			rows = t.Rows
			w.judge(rows)
		}
	}
	if w.err = err; err != nil {
		return true, 0
	}
	if len(w.step.Until.Check(&w.seen)) == 0 {
		t.Reason = "step"
		l.emitTable(host, &t, nil)
		return true, 0
	}
	rows = slices.DeleteFunc(rows, func(r journal.Socket) bool { return r.Local.Port() != l.plan.Port })
	if states := w.seen.States; w.shown == nil || !maps.Equal(w.shown, states) {
		w.shown, w.pace = states, 0
		t.Reason, t.Port, t.Rows = "wait", l.plan.Port, rows
		l.emitTable(host, &t, nil)
	}
	most := l.rare()
	if l.runsUnrecorded() {
		most = l.crowd.pace(usual)
	}
	var left time.Duration
	w.due, left = expiry(rows)
	again = w.pace.next(min(left, most))
	if w.due != nil {
		w.next = l.clock() + int64(again)
		again = l.close(host)
	}
	return false, again
}

// judge takes a table for what is seen, and reports whether it is to be journalled: it
// is not the one that was last, or what is waited for. mu is held.
func (w *watch) judge(rows []journal.Socket) bool {
	states, queued := w.lab.tally(rows)
	if w.step.Socket != "" {
		queued = w.lab.queuedAt(w.step.Socket, rows)
	}
	w.seen = journal.Observed{States: states, Queued: &queued}
	return w.shown == nil || !maps.Equal(w.shown, states) || len(w.step.Until.Check(&w.seen)) == 0
}

// queuedAt is how many connections wait at the listeners of a name for a program to
// accept them. mu is held.
func (l *lab) queuedAt(socket string, rows []journal.Socket) (queued int) {
	s := l.socket(socket)
	for i := 1; i <= max(s.Count, 1); i++ {
		for _, r := range rows {
			if r.State == "LISTEN" && r.Cookie != 0 && r.Cookie == l.cookies[agent.Nth(s.Name, i, s.Count)] {
				queued += int(r.RecvQ)
			}
		}
	}
	return queued
}

// runsUnrecorded reports whether a program runs whose calls no event tells of.
// mu is held.
func (l *lab) runsUnrecorded() bool {
	for _, p := range l.processes {
		if p.spec.Exec != nil && !p.exited {
			return true
		}
	}
	return false
}

// expiry finds a socket that the kernel will free at its next timer tick, and
// the time until any row may change by a timer: the first TIME_WAIT's expiry,
// or usual where the kernel retransmits or probes.
func expiry(rows []journal.Socket) (due *journal.Socket, left time.Duration) {
	left = math.MaxInt64
	for i, r := range rows {
		if r.Timer == "" || r.TimeLeft == nil {
			continue
		}
		d := time.Duration(*r.TimeLeft) * time.Millisecond
		switch {
		case r.Timer != "timewait":
			d = usual
		case d == 0:
			due, d = &rows[i], usual
		}
		left = min(left, d)
	}
	return due, left
}

// wanted says what is missing.
func wanted(missing []journal.Mismatch) string {
	if len(missing) == 0 {
		return "it came too late"
	}
	m := missing[0]
	return fmt.Sprintf("%s: wanted %s, saw %s", m.Field, m.Want, m.Got)
}
