package capture

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"

	"restartlab/labctl/internal/journal"
)

// comments are what to remark at the segments, by their index: the step that begins
// with one, and the changes of state that it made or that are next to it.
func comments(events, segments []journal.Event) map[int][]string {
	all := map[int][]string{}
	steps := titles(events)
	for i, e := range segments {
		if title := steps[e.Step]; title != "" {
			all[i] = append(all[i], title)
			delete(steps, e.Step) // its first segment has it
		}
	}
	ways := newWays(segments)
	for _, e := range events {
		if e.State == nil {
			continue
		}
		if i := ways.next(e); i >= 0 {
			all[i] = append(all[i], stateComment(e, segments[i].T))
		}
	}
	return all
}

// stateComment is such as "server: FIN_WAIT2 -> TIME_WAIT (#57)". What is not near in
// time says how far it is, what the kernel did not tell who did.
func stateComment(e journal.Event, segment int64) string {
	const near = int64(10 * time.Millisecond)
	s := e.State
	text := e.Host
	switch later := e.T - segment; {
	case later > near:
		text += fmt.Sprintf(", %s later", journal.Duration(later))
	case later < -near:
		text += fmt.Sprintf(", %s before", journal.Duration(-later))
	}
	text += fmt.Sprintf(": %s -> %s", s.From, s.To)
	var more []string
	for _, word := range []string{s.Why, s.Source} {
		if word != "" && word != journal.SourceKernel {
			more = append(more, word)
		}
	}
	return text + fmt.Sprintf(" (%s)", strings.Join(append(more, fmt.Sprintf("#%d", e.N)), ", "))
}

// ways are the segments by who saw them go which way.
type ways map[way][]passing

// way is a direction of a connection as one of its ends sees it.
type way struct {
	host          string
	local, remote netip.AddrPort
	out           bool
}

// passing is a segment by its index.
type passing struct {
	t     int64
	index int
}

func newWays(segments []journal.Event) ways {
	all := ways{}
	for i, e := range segments {
		s := e.Segment
		w := way{e.Host, unmap(s.To), unmap(s.From), s.Out}
		if s.Out {
			w.local, w.remote = w.remote, w.local
		}
		all[w] = append(all[w], passing{e.T, i})
	}
	for _, list := range all {
		slices.SortStableFunc(list, func(a, b passing) int { return cmp.Compare(a.t, b.t) })
	}
	return all
}

// next is the segment that goes with a change of state, -1 if its connection has
// none. A change that the host makes by itself goes with what it then sends, any
// other with what has come. Failing that it is the segment nearest in time.
func (w ways) next(e journal.Event) int {
	s := e.State
	key := way{e.Host, unmap(s.Local), unmap(s.Remote), false}
	in := w[key]
	key.out = true
	out := w[key]
	sent := sort.Search(len(out), func(i int) bool { return out[i].t >= e.T })
	come := sort.Search(len(in), func(i int) bool { return in[i].t > e.T })
	switch {
	case byItself(s) && sent < len(out):
		return out[sent].index
	case !byItself(s) && come > 0:
		return in[come-1].index
	}
	best, far := -1, int64(0)
	for _, p := range append(slices.Clone(out), in...) {
		if d := max(p.t-e.T, e.T-p.t); best < 0 || d < far {
			best, far = p.index, d
		}
	}
	return best
}

// byItself reports whether a change comes from the host, by connect() or close(), and
// not from a segment or a timer.
func byItself(s *journal.State) bool {
	switch s.To {
	case "SYN_SENT", "FIN_WAIT1", "LAST_ACK":
		return true
	case "CLOSE": // given up by an RST
		return s.Why == "" && s.From != "LAST_ACK" && s.From != "TIME_WAIT" && s.From != "SYN_RECV"
	}
	return false
}

// unmap makes the two ways to write an IPv4 address of an IPv6 socket one.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// titles are what the steps are called, by index.
func titles(events []journal.Event) map[int]string {
	steps := map[int]string{}
	for _, e := range events {
		if s := e.StepRun; s != nil && s.Phase == journal.PhaseBegin {
			steps[s.Index] = fmt.Sprintf("step %d: %s", s.Index, cmp.Or(s.Title.EN, s.ID))
		}
	}
	return steps
}
