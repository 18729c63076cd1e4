package ladder

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"restartlab/labctl/internal/journal"
)

// traffic joins what two hosts recorded of one segment, and counts sequence
// numbers from the start of each connection.
type traffic struct {
	events  []*journal.Event
	flights map[int]*flight // by the event's number
	watched map[int]bool    // lanes of which any segment was recorded
}

// flight is a segment on its way.
type flight struct {
	Segment
	sent int64
}

func (t *traffic) add(e *journal.Event) { t.events = append(t.events, e) }

// pair finds for each segment that reached a host the one that left: the latest
// before it that is the same in all that TCP says.
func (t *traffic) pair() {
	t.flights, t.watched = map[int]*flight{}, map[int]bool{}
	slices.SortStableFunc(t.events, func(x, y *journal.Event) int { return cmp.Compare(x.T, y.T) })
	numbers := relative{}
	waiting := map[string][]*flight{}
	for _, e := range t.events {
		s := e.Segment
		label, short := numbers.label(s)
		if !s.Out {
			continue
		}
		f := &flight{Segment{Out: -1, In: -1, From: -1, To: -1, Label: label, Short: short, Flags: s.Flags}, e.T}
		t.flights[e.N] = f
		waiting[same(s)] = append(waiting[same(s)], f)
	}
	numbers = relative{}
	for _, e := range t.events {
		s := e.Segment
		label, short := numbers.label(s)
		if s.Out {
			continue
		}
		key := same(s)
		if sent := waiting[key]; len(sent) > 0 {
			i := len(sent) - 1
			for i > 0 && sent[i].sent > e.T {
				i--
			}
			t.flights[e.N] = sent[i]
			waiting[key] = slices.Delete(sent, i, i+1)
			continue
		}
		t.flights[e.N] = &flight{Segment: Segment{Out: -1, In: -1, From: -1, To: -1, Label: label, Short: short, Flags: s.Flags}}
	}
}

// same is what a segment keeps on its way.
func same(s *journal.Segment) string {
	return fmt.Sprint(s.From, s.To, s.Seq, s.Ack, s.Flags, s.Window, s.Length, s.Options)
}

// relative holds, of each direction of a connection, the number that its
// numbers are counted from: its SYN's, or the first that was seen.
type relative map[[2]netip.AddrPort]uint32

func (r relative) label(s *journal.Segment) (label, short string) {
	there, back := [2]netip.AddrPort{s.From, s.To}, [2]netip.AddrPort{s.To, s.From}
	has := func(flag string) bool { return slices.Contains(s.Flags, flag) }
	base, known := r[there]
	if has("SYN") && (!known || base != s.Seq) {
		if !has("ACK") { // a new connection: the old one's numbers are over
			delete(r, back)
		}
		base, known = s.Seq, true
		r[there] = base
	}
	if !known {
		if base = s.Seq; !has("RST") || s.Seq != 0 {
			r[there] = base
		}
	}
	seq := s.Seq - base
	ack := s.Ack
	if b, ok := r[back]; ok {
		ack -= b
	}
	flags := strings.Join(spoken(s.Flags), ",")
	label = fmt.Sprintf("%s seq %d", flags, seq)
	short = flags
	if has("SYN") || has("FIN") || has("RST") || s.Length > 0 {
		short += fmt.Sprintf(" %d", seq)
	}
	if s.Length > 0 {
		short += fmt.Sprintf(":%d", seq+uint32(s.Length))
	}
	if has("ACK") {
		label += fmt.Sprintf(" ack %d", ack)
		short += fmt.Sprintf(" ack %d", ack)
	}
	if s.Length > 0 {
		label += fmt.Sprintf(" len %d", s.Length)
	}
	return visible(label), visible(short)
}

// spoken puts ACK, which nearly all segments have, last: "SYN,ACK", "FIN,ACK".
func spoken(flags []string) []string {
	var first, last []string
	for _, f := range flags {
		if f == "ACK" {
			last = append(last, f)
		} else {
			first = append(first, f)
		}
	}
	return append(first, last...)
}

func segmentDetail(e *journal.Event) string {
	s := e.Segment
	way := "reaches"
	if s.Out {
		way = "leaves"
	}
	text := fmt.Sprintf("%s %s by %s, %s to %s, on the wire: seq %d ack %d window %d, %s", way, e.Host, s.Interface, s.From, s.To,
		s.Seq, s.Ack, s.Window, count(s.Length, "byte"))
	if len(s.Options) > 0 {
		text += ", options " + strings.Join(s.Options, ", ")
	}
	return text
}
