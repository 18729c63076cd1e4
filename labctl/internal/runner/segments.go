package runner

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"restartlab/labctl/internal/capture"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab"
)

// capture records the segments at the interface of a host, on whose thread it
// is called, and reports whether it does. Where that is refused, as without
// CAP_NET_RAW, the lab goes on without, and says so.
func (l *lab) capture(host *netlab.Host) bool {
	where := capture.Place{Host: host.Name(), Interface: host.Interface(), Index: host.InterfaceIndex(), Zero: l.zero}
	tap, err := l.observer.Open(where, func(e journal.Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.emit(e)
	})
	if err != nil {
		l.record(journal.Event{Kind: journal.KindNote, Host: host.Name(), Note: &journal.Note{Text: fmt.Sprintf(
			"segments are not recorded on host %s: %v", host.Name(), err)}})
		return false
	}
	l.taps = append(l.taps, tap)
	return true
}

// flush returns when what the interfaces have seen so far is in the journal: of
// the named hosts, or of all. mu is not held.
func (l *lab) flush(hosts ...string) {
	for _, t := range l.taps {
		if len(hosts) == 0 || slices.Contains(hosts, t.Host()) {
			t.Flush()
		}
	}
}

// endCapture is flush, for the last time. mu is not held.
func (l *lab) endCapture() {
	var closed sync.WaitGroup
	for _, t := range l.taps {
		closed.Go(t.Close) // side by side: the kernel takes some 10 ms for each
	}
	closed.Wait()
}

// span is the time of a step on the journal's clock. to is 0 while it lasts.
type span struct {
	index    int
	from, to int64
}

// stepAt is the step that was under way at t, 0 if none was: what happened then
// may be heard of a moment later, perhaps in another step. mu is held.
func (l *lab) stepAt(t int64) int {
	for _, s := range slices.Backward(l.spans) {
		switch {
		case t < s.from:
		case s.to == 0 || t <= s.to:
			return s.index
		default:
			return 0
		}
	}
	return 0
}

// clocks reads the journal's clock and CLOCK_REALTIME together.
func (in *inside) clocks() (t, wall int64) {
	monotonic, wall := journal.Clocks()
	return monotonic - in.epoch, wall
}

// noteClockSet says so if somebody has set the wall clock since the lab's begin.
// (NTP's slewing changes both clocks alike.) zero is as in lab.zero, now.
func (l *lab) noteClockSet(zero int64) {
	const readings = time.Millisecond // more than two readings of both can differ by
	by := time.Duration(zero - l.zero)
	if len(l.taps) == 0 || by.Abs() < readings {
		return
	}
	l.record(journal.Event{Kind: journal.KindNote, Note: &journal.Note{Text: fmt.Sprintf(
		"the machine's wall clock was set by %s during the lab: segments that came after that have times that are off by as much", by)}})
}
