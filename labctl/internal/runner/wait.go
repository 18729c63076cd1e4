package runner

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/sockdiag"
)

// backoff paces looks at what the kernel announces to nobody: from 1 ms,
// doubling up to a limit, so that a long wait costs next to nothing.
type backoff time.Duration

// usual is the longest time between two looks at what may change unseen.
const usual = 100 * time.Millisecond

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

// waitHost waits for the socket table of a host to look as wanted. Nothing tells
// of a change in it, so it looks again: soon after each event of the lab, then
// less often. When only TIME_WAITs are left, and no program runs whose calls are
// not recorded, it ends up sleeping until the kernel's own timer says that the
// next one is due.
func (l *lab) waitHost(s *scenario.Step) (seen journal.Observed, err error) {
	var pace backoff
	var happened int
	var shown map[string]int // the tally journalled last
	var due *journal.Socket  // a TIME_WAIT whose time is over, still there
	var tableErr error
	err = l.await(l.ctx, l.began[s.ID]+int64(s.Within), func() (bool, time.Duration) {
		const every = 2 * time.Millisecond // an exact look-up costs 4 µs
		if happened != l.happened {
			happened, pace = l.happened, 0
		}
		if due != nil {
			if _, err := l.diag[s.Host].Lookup(due.Local, due.Remote); err == nil {
				return false, every
			} else if !errors.Is(err, sockdiag.ErrNotFound) {
				tableErr = err
				return true, 0
			}
			due = nil
		}
		var rows []journal.Socket
		if rows, tableErr = l.diag[s.Host].Table(l.plan.Port); tableErr != nil {
			return true, 0
		}
		states, queued := l.tally(rows)
		seen = journal.Observed{States: states, Queued: &queued}
		if len(s.Until.Check(&seen)) == 0 {
			return true, 0
		}
		if shown == nil || !maps.Equal(shown, states) {
			shown, pace = states, 0
			l.emit(journal.Event{Kind: journal.KindSockets, Host: s.Host, Sockets: &journal.Sockets{
				Reason: "wait", Port: l.plan.Port, Rows: rows, Unlisted: l.diag[s.Host].Unlisted()}})
		}
		var left time.Duration
		if due, left = nextExpiry(rows); due != nil {
			return false, every
		}
		if left == 0 || l.runsUnrecorded() {
			left = usual
		}
		return false, pace.next(left)
	})
	if tableErr != nil {
		return seen, fmt.Errorf("read the socket table of host %s: %w", s.Host, tableErr)
	}
	if err == errDeadline {
		seen.Failure = fmt.Sprintf("not seen within %s; %s", s.Within, wanted(s.Until.Check(&seen)))
	}
	return seen, nil
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

// nextExpiry is for a table in which time alone can change something: every row
// is a TIME_WAIT. It returns one that is due, or else the time until the first
// is; neither for any other table.
func nextExpiry(rows []journal.Socket) (due *journal.Socket, left time.Duration) {
	for i, r := range rows {
		if r.Timer != "timewait" || r.TimeLeft == nil || r.Remote == (netip.AddrPort{}) {
			return nil, 0
		}
		d := time.Duration(*r.TimeLeft) * time.Millisecond
		if d == 0 {
			return &rows[i], 0
		}
		if left == 0 || d < left {
			left = d
		}
	}
	return nil, left
}

// wanted says what is missing.
func wanted(missing []journal.Mismatch) string {
	if len(missing) == 0 {
		return "it came too late"
	}
	m := missing[0]
	return fmt.Sprintf("%s: wanted %s, saw %s", m.Field, m.Want, m.Got)
}
