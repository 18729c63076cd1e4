package tcpstate

import (
	"strconv"
	"strings"

	"restartlab/labctl/internal/journal"
)

// segment is what the machine needs of a segment, from the host's point of view.
type segment struct {
	ends
	out                bool
	syn, ack, fin, rst bool
	seq, acks          uint32
	length             uint32 // of the payload
	window             uint32
	scale              uint8
	repeated           bool // it says that something came twice (RFC 2883)
}

// syn is a connection asked for.
type syn struct {
	t   int64
	seq uint32
}

func readSegment(j *journal.Segment) segment {
	g := segment{ends: endsOf(j.From, j.To), out: j.Out, seq: j.Seq, acks: j.Ack, length: uint32(max(0, j.Length)), window: uint32(j.Window)}
	if !j.Out {
		g.ends = endsOf(j.To, j.From)
	}
	for _, f := range j.Flags {
		switch f {
		case "SYN":
			g.syn = true
		case "ACK":
			g.ack = true
		case "FIN":
			g.fin = true
		case "RST":
			g.rst = true
		}
	}
	for _, o := range j.Options {
		kind, value, _ := strings.Cut(o, " ")
		switch kind {
		case "wscale":
			n, _ := strconv.ParseUint(value, 10, 8)
			g.scale = uint8(min(n, 14)) // RFC 7323, 2.3
		case "sack":
			first, _, _ := strings.Cut(value, " ")
			_, end, _ := strings.Cut(first, "-")
			n, err := strconv.ParseUint(end, 10, 32)
			g.repeated = err == nil && !before(g.acks, uint32(n))
		}
	}
	return g
}

// end is the number behind the segment.
func (g *segment) end() uint32 {
	end := g.seq + g.length
	if g.syn {
		end++
	}
	if g.fin {
		end++
	}
	return end
}

// before compares sequence numbers (RFC 9293, 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }

// segment takes the next segment.
func (h *Host) segment(t int64, g segment) {
	s := h.current[g.ends]
	if s != nil && s.state == closed {
		s = nil
	}
	switch {
	case g.rst && g.syn:
	case g.out && g.rst:
		if s != nil {
			s.sendReset(t, g)
		}
	case g.out && g.syn && g.ack:
		h.answer(t, s, g)
	case g.out && g.syn:
		h.ask(t, s, g)
	case g.out:
		if s != nil {
			s.send(t, g)
		}
	case g.rst:
		if s != nil {
			s.receiveReset(t, g)
		}
	case g.syn && !g.ack:
		h.asked[g.ends] = syn{t, g.seq}
	case s != nil:
		s.receive(t, g)
	}
}

// ask is a SYN of the host's own: it is in SYN_SENT.
func (h *Host) ask(t int64, s *socket, g segment) {
	if s != nil && s.started && s.iss == g.seq && s.state == synSent {
		s.alive, s.opened = t, 0 // sent again: nothing has come
		return
	}
	s = h.connection(t, g.ends, closed)
	s.start(g)
	s.traffic = true
	s.infer(t, synSent)
}

// start takes the numbers of the host's own SYN.
func (s *socket) start(g segment) {
	s.iss, s.sent, s.scale = g.seq, g.end(), g.scale
	s.started, s.sending = true, true
}

// answer is a SYN,ACK of the host's own. It shows that a SYN was taken in, and
// that what it answers is a request socket, if no SYN cookie was sent in place of
// one (RFC 4987, 3.6). So that is told when more is seen.
func (h *Host) answer(t int64, s *socket, g segment) {
	asked := h.asked[g.ends]
	fresh := asked.t != 0 && asked.seq+1 == g.acks
	switch {
	case s != nil && s.state == synSent && s.iss == g.seq && fresh: // both sides have asked
		s.infer(asked.t, synRecv)
		s.alive = t
		s.receives(g)
		s.irs = asked.seq
	case s != nil && s.started && s.iss == g.seq && (s.request != 0 || s.state == synRecv):
		s.opened = 0 // the answer to the last SYN,ACK was not taken in
		s.alive = t
		if !fresh || asked.t < s.answeredAt { // nobody asked again: it has a timer
			s.repeats++
			s.requested()
		}
		s.answeredAt = t
	case fresh:
		s = h.connection(asked.t, g.ends, listening)
		s.passive, s.traffic, s.request, s.irs = true, true, asked.t, asked.seq
		s.alive, s.answeredAt = t, t
		s.start(g)
		s.receives(g)
	}
}

// receives takes what a segment of the host's own says of what has come.
func (s *socket) receives(g segment) {
	if !s.receiving || before(s.received, g.acks) {
		s.received = g.acks
	}
	if !s.receiving || before(s.next, s.received) {
		s.next = s.received
	}
	s.receiving = true
	s.window = g.window
	if !g.syn {
		s.window <<= s.scale
	}
}

// send is any other segment of the host's own but an RST. The socket is there, and
// has taken in what it acknowledges.
func (s *socket) send(t int64, g segment) {
	s.alive, s.traffic = t, true
	s.reset, s.refusedAt = fact{}, 0
	if !s.sending || before(s.sent, g.end()) {
		s.sent, s.sending = g.end(), true
	}
	if s.opened != 0 && (!s.passive || g.length > 0 || g.fin || before(s.irs+1, g.acks)) {
		s.open()
	}
	if g.ack {
		s.receives(g)
		s.taken(g)
	}
	if !g.fin {
		return
	}
	if s.finSent {
		if s.fin == g.end() && s.acked.t < t { // sent again: it was not acknowledged
			s.acked = fact{}
		}
		return
	}
	s.fin, s.finSent = g.end(), true
	switch s.state {
	case established, synRecv:
		s.infer(t, finWait1)
		// What came before may be taken in now.
		s.finned.t, s.finned.last = later(s.finned.t, t), later(s.finned.last, t)
	case closeWait:
		s.infer(t, lastAck)
	}
}

// later moves a time that is known to t if it was before.
func later(known, t int64) int64 {
	if known == 0 {
		return 0
	}
	return max(known, t)
}

// taken tells what an acknowledgement of the host's own shows to be taken in.
func (s *socket) taken(g segment) {
	if s.acked.t != 0 && s.acked.needed && !before(g.acks, s.acked.need) {
		s.ackTaken()
	}
	if s.finned.t == 0 {
		return
	}
	if before(g.acks, s.finned.need) {
		s.finned.doubted = true
		return
	}
	s.finTaken(g.repeated)
}

// sendReset is an RST of the host's own.
func (s *socket) sendReset(t int64, g segment) {
	switch {
	case g.ack && s.receiving && s.state != timeWait:
		// The socket's own, by its numbers: an RST that answers a segment
		// without a socket has an ACK only if that has none.
		s.alive = t
		s.open()
		s.taken(g)
		if s.request == 0 {
			s.infer(t, closed)
		}
	case s.finSent && s.data != 0:
		s.refusedAt = t // data after close(): if the socket goes, that was why
	}
}

// acceptable reports whether TCP looks at more of a segment than its numbers
// (RFC 9293, 3.10.7.4).
func (s *socket) acceptable(g segment) bool {
	return !s.receiving || !before(g.end(), s.received) && !before(s.next+s.window, g.seq)
}

// receive is a segment that came, but no RST, and no SYN without an ACK.
func (s *socket) receive(t int64, g segment) {
	s.traffic = true
	if g.syn {
		if g.ack && s.started && (s.state == synSent || s.state == synRecv && !s.passive) && before(s.iss, g.acks) && !before(s.sent, g.acks) {
			s.opened, s.irs, s.next = t, g.seq, g.end()
		}
		return
	}
	if !s.acceptable(g) {
		return
	}
	s.data = 0
	if s.opened == 0 && s.started && (s.request != 0 || s.state == synRecv) && g.ack && before(s.iss, g.acks) && !before(s.sent, g.acks) {
		s.opened = t
	}
	covers := s.finSent && g.ack && !before(g.acks, s.fin)
	if g.length > 0 {
		s.data, s.dataCovers = t, covers
	}
	if covers {
		if s.acked.t == 0 {
			s.acked.t = t
		}
		if !s.acked.needed && g.end() != g.seq {
			s.acked.need, s.acked.needed = g.end(), true
		}
	}
	switch f := &s.finned; {
	case g.fin && (f.t == 0 || f.need != g.end()):
		*f = fact{t: t, last: t, need: g.end(), covers: covers, first: covers}
	case g.fin:
		f.last, f.covers = t, covers
	case f.t != 0 && f.doubted && g.length > 0: // may be what was missing before it
		f.last = t
	}
	if s.receiving && !before(s.next, g.seq) && before(s.next, g.end()) {
		s.next = g.end()
	}
}

// receiveReset is an RST that came. TCP accepts it by its number (RFC 5961, 3.2).
func (s *socket) receiveReset(t int64, g segment) {
	if s.reset.t != 0 {
		return
	}
	ok := false
	switch {
	case s.state == timeWait && s.host.keepsWaits: // RFC 1337
	case s.state == synSent:
		ok = g.ack && s.started && before(s.iss, g.acks) && !before(s.sent, g.acks)
	case s.receiving:
		ok = !before(g.seq, s.received) && !before(s.next, g.seq) || g.seq+1 == s.next
	}
	if ok {
		s.reset = fact{t: t, last: t, need: g.seq, needed: true}
	}
}
