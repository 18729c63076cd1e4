package runner

import (
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// mostNext bounds how many steps a reader may let go ahead.
const mostNext = 10_000

// lookHeld is the time between two looks at the tables while the lab is held: a
// reader sees TIME_WAIT go.
const lookHeld = time.Second

// pause waits, in a paced lab, until the reader lets the step begin. Meanwhile the
// kernel goes on: a socket table is journalled whenever one has changed.
func (l *lab) pause(s *scenario.Step) {
	if l.next == nil || l.ctx.Err() != nil {
		return
	}
	begin := l.clock()
	e := journal.Pause{Phase: journal.PhaseBegin, Index: s.Index, ID: s.ID, Title: s.Title}
	l.record(journal.Event{T: begin, Kind: journal.KindPause, Pause: &e})
	tick := time.NewTicker(lookHeld)
	defer tick.Stop()
	shown := map[string]string{}
	for held := true; held; {
		l.lookHeld(shown)
		select {
		case <-l.next:
			held = false
		case <-l.ctx.Done():
			held = false
		case <-tick.C:
		}
	}
	end := e
	end.Phase = journal.PhaseEnd
	t := l.clock()
	end.Duration = t - begin
	l.record(journal.Event{T: t, Kind: journal.KindPause, Pause: &end})
}

// lookHeld journals the tables that are not as shown. One that cannot be read is
// left to the next step, which says so.
func (l *lab) lookHeld(shown map[string]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.plan.Hosts {
		rows, err := l.diag[h.Name].Table(0)
		if now := signature(rows); err == nil && shown[h.Name] != now {
			shown[h.Name] = now
			l.emitTable(h.Name, &journal.Sockets{Reason: "held", Rows: rows}, nil)
		}
	}
}

// signature is equal for tables of the same sockets in the same states.
func signature(rows []journal.Socket) string {
	b := []byte{'.'} // an empty table is one too
	for _, r := range rows {
		b = r.Local.AppendTo(append(b, r.State...))
		b = r.Remote.AppendTo(append(b, ' '))
	}
	return string(b)
}
