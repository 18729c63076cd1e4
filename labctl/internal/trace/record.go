package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// kind is what a record is about: enum kind of observe.bpf.c.
type kind uint8

const (
	stateChanged     kind = iota + 1 // a full socket changed its state
	waitStarted                      // a minisocket's timer was armed: its birth, or again
	waitCancelled                    // the timer was taken out of the wheel: to be armed anew, to fire, or for good
	waitExpired                      // the timer fired
	waitSegment                      // a segment reached a minisocket and was done with
	requestStarted                   // as waitStarted, of a request socket
	requestCancelled                 // as waitCancelled
	requestExpired                   // as waitExpired: an answer was due, and is sent again or given up
	resetReceived                    // a full socket accepts an RST; it is CLOSE next
	resetSent                        // an RST went out, of a socket or of none
)

// recordLen is the size of struct record of observe.bpf.c.
const recordLen = 88

// record is one observation as the kernel's side took it down.
type record struct {
	time          int64  // CLOCK_MONOTONIC, ns
	net           uint64 // the host's namespace, by its cookie
	cookie        uint64 // of the socket, 0 if it has none yet
	object        uint64 // its address in the kernel: another's as soon as it is gone
	left          int64  // waitStarted: jiffies until it may fire, 0 if not known
	kind          kind
	from, to      uint8 // states by the kernel's number; of a minisocket both what it stands for now
	reason        uint8 // resetSent: the kernel's number for why, 0 if it does not tell
	local, remote netip.AddrPort
}

// decode reads a record of the ring buffer. Any bytes are safe to decode.
//
// As in a socket table, an IPv6 socket that speaks IPv4 has mapped addresses,
// ::ffff:192.0.2.1, and a listener has no remote address at all.
func decode(b []byte) (record, error) {
	if len(b) != recordLen {
		return record{}, fmt.Errorf("a record of %d bytes in place of %d", len(b), recordLen)
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
	r := record{
		time: int64(u64(0)), net: u64(8), cookie: u64(16), object: u64(24), left: int64(u64(32)),
		kind: kind(b[46]), from: b[47], to: b[48], reason: b[49],
	}
	var local, remote netip.Addr
	switch family := u16(40); family {
	case unix.AF_INET:
		local, remote = netip.AddrFrom4([4]byte(b[56:60])), netip.AddrFrom4([4]byte(b[72:76]))
	case unix.AF_INET6:
		local, remote = netip.AddrFrom16([16]byte(b[56:72])), netip.AddrFrom16([16]byte(b[72:88]))
	default:
		return record{}, fmt.Errorf("a record of address family %d", family)
	}
	if r.kind < stateChanged || r.kind > resetSent {
		return record{}, fmt.Errorf("a record of unknown kind %d", r.kind)
	}
	if !r.possible() {
		return record{}, fmt.Errorf("a record of kind %d with the states %d and %d", r.kind, r.from, r.to)
	}
	r.local = netip.AddrPortFrom(local, u16(42))
	if port := u16(44); port != 0 {
		r.remote = netip.AddrPortFrom(remote, port)
	}
	return r, nil
}

// reset is the event of an RST. reasons are the kernel's words for its numbers.
func (r *record) reset(reasons map[uint8]string) journal.Event {
	e := journal.Reset{Sent: r.kind == resetSent, Cookie: r.cookie, Local: r.local, Remote: r.remote, Reason: reasons[r.reason]}
	if r.from != none {
		e.State = stateName(r.from)
	}
	if !e.Sent {
		e.Reason = "" // that is the sender's
	}
	return journal.Event{T: r.time, Kind: journal.KindReset, Reset: &e}
}

// possible reports whether a record of this kind can have these states.
func (r *record) possible() bool {
	switch r.kind {
	case stateChanged:
		from, to := stateName(r.from), stateName(r.to) // two numbers stand for SYN_RECV
		return from != to && r.from != none && r.to != none && from != "" && to != ""
	case resetReceived:
		return r.from == r.to && r.from != none && stateName(r.from) != ""
	case resetSent:
		return r.from == r.to && stateName(r.from) != ""
	case waitStarted, waitCancelled, waitExpired, waitSegment:
		return r.from == r.to && (r.to == finWait2 || r.to == timeWait)
	}
	return r.from == none && r.to == none
}

// The kernel's numbers for TCP states (net/tcp_states.h). none is that of a
// record about a request socket, which is always SYN_RECV, and of one about no
// socket at all.
const (
	none        = 0
	established = 1
	synSent     = 2
	synRecv     = 3
	finWait1    = 4
	finWait2    = 5
	timeWait    = 6
	closed      = 7
	closeWait   = 8
	lastAck     = 9
	listening   = 10
	closing     = 11
)

// stateName is the journal's name of a state, empty for a number that is none.
func stateName(n uint8) string {
	names := [...]string{
		none: "none", established: "ESTABLISHED", synSent: "SYN_SENT", synRecv: "SYN_RECV", finWait1: "FIN_WAIT1",
		finWait2: "FIN_WAIT2", timeWait: "TIME_WAIT", closed: "CLOSE", closeWait: "CLOSE_WAIT", lastAck: "LAST_ACK",
		listening: "LISTEN", closing: "CLOSING", 12: "SYN_RECV",
	}
	if int(n) >= len(names) {
		return ""
	}
	return names[n]
}
