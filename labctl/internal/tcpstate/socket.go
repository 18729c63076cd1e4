package tcpstate

import (
	"cmp"
	"net/netip"
	"slices"

	"restartlab/labctl/internal/journal"
)

// socket is a listener, or one end of a connection, from its birth to CLOSE.
//
// Its state is what is known. What segments from the peer would change it to, if
// TCP takes them in, is kept beside it until something shows that it did.
type socket struct {
	host          *Host
	cookie        uint64 // 0: not known
	ends          ends   // of a connection
	local, remote netip.AddrPort
	state         string
	born          int64
	since         int64 // when it came into state
	dated         bool  // since is when it did, and not when that was seen
	alive         int64 // when it was last shown to be there
	told          []journal.Event
	passive       bool  // a listener's child
	full          bool  // it was more than a request socket
	traffic       bool  // segments of it are seen
	mini          int64 // when it was known to be a minisocket, 0 if never

	// Numbers of RFC 9293, 3.3.1. Those about the peer are as the host's own
	// segments show them, but for next.
	iss, irs   uint32
	started    bool   // iss is known
	sent       uint32 // the end of all that it sent
	sending    bool   // sent is known
	received   uint32 // RCV.NXT, as it last told the peer
	receiving  bool   // received is known
	next       uint32 // RCV.NXT, if all that came in order was taken in
	window     uint32
	scale      uint8
	fin        uint32 // behind its own FIN
	finSent    bool
	repeats    int   // SYN,ACKs sent again by themselves
	answeredAt int64 // when it last sent a SYN,ACK
	data       int64 // when the last segment came, if it had data
	dataCovers bool  // and acknowledged the FIN

	// What may have happened.
	request   int64 // a SYN that may have made a request socket, not told yet
	opened    int64 // the peer's part of the handshake
	acked     fact  // an acknowledgement of the FIN
	finned    fact  // the peer's FIN
	reset     fact  // an RST that TCP accepts
	refusedAt int64 // it answered data with an RST
}

// fact is what a segment that came would do. t is 0 if there was none.
type fact struct {
	t       int64
	last    int64 // when it came again
	need    uint32
	needed  bool // it was taken in if everything before need was
	covers  bool // it acknowledges the FIN too, as it last came
	first   bool // so it did when it came first
	doubted bool // TCP had not taken it in after t
}

// tell makes a transition.
func (s *socket) tell(t int64, to, source, why string) {
	t = max(t, s.since)
	h := s.host
	e := journal.Event{T: t, Kind: journal.KindState, State: &journal.State{Cookie: s.cookie, Local: s.local, Remote: s.remote,
		From: s.state, To: to, Source: source, Why: why}}
	if s.cookie != 0 {
		h.ready = append(h.ready, e)
	} else {
		s.told = append(s.told, e)
	}
	mini := func(state string) bool { return state == finWait2 || state == timeWait }
	if mini(s.state) && !mini(to) {
		h.minis--
	} else if mini(to) && !mini(s.state) {
		h.minis++
	}
	if to != synRecv && to != closed {
		s.full = true
	}
	s.state, s.since, s.dated = to, t, source == journal.SourceInferred
	if to == closed {
		delete(h.live, s)
	} else {
		h.live[s] = true
	}
}

func (s *socket) infer(t int64, to string) { s.tell(t, to, journal.SourceInferred, "") }

// requested tells of a request socket that is now known to be, or to have been.
func (s *socket) requested() {
	if s.request != 0 {
		t := s.request
		s.request = 0
		s.infer(t, synRecv)
	}
}

// open tells that the handshake is complete, if it is not told yet and a segment
// is known that may have done it.
func (s *socket) open() {
	if s.opened == 0 {
		return
	}
	s.requested()
	if to := opened.then(s.state); to != "" {
		s.infer(s.opened, to)
	}
}

// ackTaken tells that the FIN was acknowledged.
func (s *socket) ackTaken() {
	if to := acked.then(s.state); to != "" && s.acked.t != 0 && (to != timeWait || s.host.roomForMini()) {
		s.infer(s.acked.t, to)
	}
}

// finTaken tells that the peer's FIN was taken in, and when. repeated says that
// the peer was told that it came twice (RFC 2883).
func (s *socket) finTaken(repeated bool) {
	f := &s.finned
	if f.t == 0 {
		return
	}
	s.open()
	t, covers := f.last, f.covers
	if repeated && !f.doubted {
		t, covers = f.t, f.first
	}
	if covers && s.acked.t == 0 {
		s.acked.t = t
	}
	if covers && s.state == finWait1 {
		s.ackTaken()
	}
	if to := finned.then(s.state); to != "" && (to != timeWait || s.host.roomForMini()) {
		s.infer(t, to)
	}
}

// reach tells how the connection came into a state that it is known to be in. It
// is false if what was seen does not lead there.
func (s *socket) reach(state string) bool {
	type move struct {
		t int64
		e event
	}
	var moves []move
	add := func(t int64, e event) {
		if t != 0 && shows(state, e) {
			moves = append(moves, move{t, e})
		}
	}
	ack := s.acked.t
	if ack == 0 && s.finned.covers {
		ack = s.finned.last
	}
	add(s.opened, opened)
	add(ack, acked)
	add(s.finned.last, finned)
	slices.SortStableFunc(moves, func(a, b move) int { return cmp.Compare(a.t, b.t) })
	at := s.state
	var way []move
	for _, m := range moves {
		if to := m.e.then(at); to != "" && at != state {
			at = to
			way = append(way, m)
		}
	}
	if at != state {
		return false
	}
	for _, m := range way {
		s.infer(m.t, m.e.then(s.state))
	}
	return true
}

// die tells that the socket is gone, as was seen at t, and by what if that is
// known.
func (s *socket) die(t int64, source string) {
	if s.request != 0 { // nothing shows that it ever was
		s.host.forget(s)
		return
	}
	if s.reset.t != 0 && s.finned.t != 0 && s.finned.t <= s.reset.t && !before(s.reset.need, s.finned.need) {
		s.finTaken(false)
	}
	switch {
	case s.state == lastAck && s.acked.t != 0 && (s.reset.t == 0 || s.acked.t <= s.reset.t):
		s.infer(s.acked.t, closed)
	case s.reset.t != 0 && (s.state == timeWait || s.mini != 0 && s.mini < s.reset.t):
		s.tell(s.reset.t, closed, journal.SourceInferred, "killed")
	case s.reset.t != 0 && (s.acked.t == 0 || s.state != finWait1 && s.state != closing):
		s.tell(s.reset.t, closed, journal.SourceInferred, "reset")
	case s.refusedAt != 0:
		s.refuse()
	case s.ranOut(t):
		s.tell(t, closed, source, "timer")
	case s.state == timeWait && s.dated:
		s.tell(t, closed, source, "killed")
	default:
		s.tell(t, closed, source, "")
	}
}

// refuse tells the end by data that came after close(). If the same segment was the
// first to acknowledge the FIN, FIN_WAIT2 was passed on the way; else the socket had
// become a minisocket in it, unless it may stay there for longer than a TIME_WAIT
// (tcp_rcv_state_process).
func (s *socket) refuse() {
	if s.state == finWait1 && s.dataCovers {
		s.ackTaken()
	}
	if s.state == finWait2 && s.acked.t != s.data && s.host.finTimeout <= minute {
		s.tell(s.refusedAt, closed, journal.SourceInferred, "killed")
		return
	}
	s.infer(s.refusedAt, closed)
}

// minute is TCP_TIMEWAIT_LEN, the shortest time of a TIME_WAIT, in ns.
const minute = 60_000_000_000

// ranOut reports whether a timer explains that the socket is gone at t.
func (s *socket) ranOut(t int64) bool {
	switch s.state {
	case timeWait:
		return t-s.since >= minute
	case finWait2:
		return s.host.finTimeout != 0 && t-s.since >= s.host.finTimeout
	case synRecv:
		return s.repeats > 0
	}
	return false
}

// replaced tells the end of a connection in whose place a new one begins at t.
func (s *socket) replaced(t int64) {
	if s.state == timeWait || s.finned.t != 0 && s.host.roomForMini() && s.reach(timeWait) {
		s.tell(t, closed, journal.SourceInferred, "reused")
		return
	}
	s.die(t, journal.SourceInferred)
}

// unsettled reports whether something may have changed the state, and nothing has
// shown that it did.
func (s *socket) unsettled() bool {
	return s.request != 0 || s.reset.t != 0 || s.refusedAt != 0 ||
		s.opened != 0 && opened.then(s.state) != "" ||
		s.acked.t != 0 && acked.then(s.state) != "" ||
		s.finned.t != 0 && finned.then(s.state) != ""
}
