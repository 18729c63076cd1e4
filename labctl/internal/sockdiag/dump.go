package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

const (
	headerLen  = unix.SizeofNlMsghdr // 16
	requestLen = 56                  // struct inet_diag_req_v2
	byFamily   = 20                  // SOCK_DIAG_BY_FAMILY
	olderLen   = 60                  // struct inet_diag_req
	allTCP     = 18                  // TCPDIAG_GETSOCK

	allStates  = 1<<(stateBoundQuery+1) - 1
	boundState = 1 << stateBoundQuery
)

// query is one question to the kernel.
type query struct {
	family        uint8 // AF_UNSPEC: IPv4 and IPv6, for a dump of TCP
	udp           bool
	flags         uint16 // NLM_F_DUMP for all that fit, 0 for exactly one
	states        uint32 // by state number; matters to dumps alone
	local, remote netip.AddrPort
}

// encode writes the netlink header and the inet_diag_req_v2. No attributes are
// asked for; the few that a socket has anyway suffice. The cookie is left open
// (INET_DIAG_NOCOOKIE).
func (q query) encode(seq uint32) []byte {
	if q.family == unix.AF_UNSPEC {
		return q.encodeAll(seq)
	}
	b := make([]byte, headerLen+requestLen)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], byFamily)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|q.flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	r := b[headerLen:]
	r[0] = q.family
	r[1] = unix.IPPROTO_TCP
	if q.udp {
		r[1] = unix.IPPROTO_UDP
	}
	binary.NativeEndian.PutUint32(r[4:], q.states)
	binary.BigEndian.PutUint16(r[8:], q.local.Port())
	binary.BigEndian.PutUint16(r[10:], q.remote.Port())
	copy(r[12:28], q.local.Addr().AsSlice())
	copy(r[28:44], q.remote.Addr().AsSlice())
	binary.NativeEndian.PutUint64(r[48:], ^uint64(0))
	return b
}

// encodeAll writes the older message, with an inet_diag_req: the kernel answers that
// with IPv4 and IPv6 from one walk through its tables (inet_diag_dump_compat).
func (q query) encodeAll(seq uint32) []byte {
	b := make([]byte, headerLen+olderLen)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], allTCP)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|q.flags)
	binary.NativeEndian.PutUint32(b[8:], seq)
	r := b[headerLen:]
	binary.BigEndian.PutUint16(r[4:], q.local.Port())
	binary.BigEndian.PutUint16(r[6:], q.remote.Port())
	binary.NativeEndian.PutUint64(r[44:], ^uint64(0))
	binary.NativeEndian.PutUint32(r[52:], q.states)
	return b
}

// answer collects what the kernel says to one query, datagram by datagram.
type answer struct {
	seq  uint32
	rows []journal.Socket
	// one says that a single socket was asked for: it ends the answer, which
	// otherwise goes on until NLMSG_DONE.
	one bool
	// interrupted says that the kernel's tables changed under the dump so
	// that it may be inconsistent (NLM_F_DUMP_INTR).
	interrupted bool
	// err is the first thing that went wrong. The answer is still read to
	// its end, or its rest would be taken for the next one's.
	err error
}

// add reads one datagram and reports whether the answer is complete.
func (a *answer) add(b []byte) (done bool) {
	for len(b) >= headerLen {
		n := int(binary.NativeEndian.Uint32(b))
		if n < headerLen || n > len(b) {
			a.fail(fmt.Errorf("a message of %d bytes, of which %d are there", n, len(b)))
			return a.one
		}
		typ, flags, seq := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:]), binary.NativeEndian.Uint32(b[8:])
		body := b[headerLen:n]
		b = b[min(len(b), (n+3)&^3):]
		if seq != a.seq {
			continue // the rest of an answer that was given up
		}
		if flags&unix.NLM_F_DUMP_INTR != 0 {
			a.interrupted = true
		}
		switch typ {
		case unix.NLMSG_NOOP:
		case unix.NLMSG_ERROR:
			if len(body) < 4 {
				a.fail(errors.New("an error without a number"))
			} else if errno := int32(binary.NativeEndian.Uint32(body)); errno != 0 {
				a.fail(unix.Errno(-errno))
			}
			return true
		case unix.NLMSG_DONE:
			// A dump that failed half-way ends with its errno.
			if len(body) >= 4 {
				if errno := int32(binary.NativeEndian.Uint32(body)); errno < 0 {
					a.fail(unix.Errno(-errno))
				}
			}
			return true
		case byFamily, allTCP:
			s, err := Decode(body)
			if err != nil {
				a.fail(err)
			} else {
				a.rows = append(a.rows, s)
			}
			if a.one {
				return true
			}
		default:
			a.fail(fmt.Errorf("a message of type %d", typ))
		}
	}
	if len(b) > 0 {
		a.fail(fmt.Errorf("%d bytes after the last message", len(b)))
	}
	return false
}

func (a *answer) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}
