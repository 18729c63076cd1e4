// Package explain says why the kernel refused a bind or listen: which sockets
// held the port, and by which part of the rule.
//
// It reads a run's journal event by event and is pure: the same events give
// the same words. An explanation never predicts: the holders of a port come from the
// socket table that was read right after the refused call; the rule only sorts
// that table. Every clause of an explanation names the events that it rests
// on, and where no event tells it says "unknown".
//
// What a bind would get that nobody has made yet is asked of the same rule, over
// the sockets that a machine shows (Port).
package explain

import (
	"fmt"
	"net/netip"
	"strings"

	"restartlab/labctl/internal/journal"
)

// Holder is a socket that held the port when a bind or listen was refused.
type Holder struct {
	// Socket is its row in the table read after the refused call.
	Socket journal.Socket
	// ReuseAddr and ReusePort are the options as last read from the kernel;
	// nil if no event tells. V6Only likewise, for IPv6 sockets.
	ReuseAddr *bool
	ReusePort *bool
	V6Only    *bool
	// Kernel says that the options were read in the kernel's own memory, with
	// the table (Socket.ReuseAddr and the fields after it).
	Kernel bool
	// Program is the program that created or accepted the socket, or whose
	// listener completed its handshake; empty if no event tells.
	Program string
	// PID is a process that has the socket open, 0 if none is known to. Of
	// several it is the lowest.
	PID int
	// Parent is the process that accepted the socket, or created it, when
	// that is not PID: it has exited or closed its own descriptor.
	Parent int
	// First is the side that closed the connection first.
	First Side
	// Facts are the events that told the options, Closing those that told
	// First, Owner those that told Program and PID.
	Facts   []int
	Closing []int
	Owner   []int
}

// Side is an end of a connection, seen from the holder.
type Side string

// The sides. Unknown means that no recorded event decides.
const (
	Unknown  Side = ""
	ThisSide Side = "this side"
	PeerSide Side = "the peer"
)

// Clause is one statement of an explanation with the events it rests on.
type Clause struct {
	Text   string
	Events []int
}

// Explanation says why one bind or listen was refused.
type Explanation struct {
	N       int    // the refused system call's event
	Call    string // "bind" or "listen"
	Errno   string // "EADDRINUSE"
	Number  int    // 98
	Address netip.AddrPort
	Host    string
	Program string
	Holders []Holder
	Clauses []Clause
	Fix     string // what to do, without a full stop; empty if nothing is known to help
}

// String is the explanation in one line:
//
//	EADDRINUSE (98): held by TIME_WAIT a -> b, 59.9 s left; this side closed first; ... Fix: ...
func (x Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%d)", x.Errno, x.Number)
	for i, c := range x.Clauses {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(c.Text)
	}
	b.WriteString(".")
	if x.Fix != "" {
		b.WriteString(" Fix: " + x.Fix + ".")
	}
	return b.String()
}
