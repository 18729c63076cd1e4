package sockdiag

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// The kernel's numbers for TCP states (net/tcp_states.h).
const (
	stateTimeWait   = 6
	stateClose      = 7
	stateListen     = 10
	stateBoundQuery = 13 // TCP_BOUND_INACTIVE: only ever asked for, reported as CLOSE
)

// stateNames are the journal's names for the states, by the kernel's number.
// NEW_SYN_RECV (12), the kernel's own word for a request socket, is told to
// nobody: those are reported as SYN_RECV.
var stateNames = [...]string{
	1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2",
	stateTimeWait: "TIME_WAIT", stateClose: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK",
	stateListen: "LISTEN", 11: "CLOSING", 12: "SYN_RECV", stateBoundQuery: "BOUND",
}

// timerNames by the number of idiag_timer (sock_diag(7)).
var timerNames = [...]string{1: "retransmit", 2: "keepalive", 3: "timewait", 4: "probe"}

// messageLen is the size of struct inet_diag_msg (linux/inet_diag.h).
const messageLen = 72

// attributeV6Only is INET_DIAG_SKV6ONLY: one byte, sent for IPv6 listeners and
// bound sockets.
const attributeV6Only = 11

// Decode reads one inet_diag_msg and the attributes after it, without the
// netlink header. Multi-byte fields are in the machine's order, ports and
// addresses in the network's. Attributes that the journal has no place for
// (SHUTDOWN, PROTOCOL, MARK, CGROUP_ID and whatever newer kernels add) are
// passed over. Any bytes are safe to decode.
//
// A socket that is bound and neither listens nor connects is in the state
// CLOSE to the kernel; it is called BOUND here. An IPv6 socket that speaks
// IPv4 keeps the family tcp6 and its mapped addresses, ::ffff:192.0.2.1.
func Decode(b []byte) (journal.Socket, error) {
	if len(b) < messageLen {
		return journal.Socket{}, fmt.Errorf("a socket of %d bytes: the kernel sends at least %d", len(b), messageLen)
	}
	family, state, timer, retransmits := b[0], b[1], b[2], b[3]
	s := journal.Socket{
		Retrans:   retransmits,
		Interface: binary.NativeEndian.Uint32(b[40:]),
		Cookie:    uint64(binary.NativeEndian.Uint32(b[44:])) | uint64(binary.NativeEndian.Uint32(b[48:]))<<32,
		RecvQ:     binary.NativeEndian.Uint32(b[56:]),
		SendQ:     binary.NativeEndian.Uint32(b[60:]),
		UID:       binary.NativeEndian.Uint32(b[64:]),
		Inode:     uint64(binary.NativeEndian.Uint32(b[68:])),
	}
	var local, remote netip.Addr
	switch family {
	case unix.AF_INET:
		s.Family = "tcp"
		local, remote = netip.AddrFrom4([4]byte(b[8:12])), netip.AddrFrom4([4]byte(b[24:28]))
	case unix.AF_INET6:
		s.Family = "tcp6"
		local, remote = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
	default:
		return journal.Socket{}, fmt.Errorf("a socket of address family %d", family)
	}
	s.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:]))
	if port := binary.BigEndian.Uint16(b[6:]); port != 0 {
		s.Remote = netip.AddrPortFrom(remote, port)
	}

	if int(state) >= len(stateNames) || stateNames[state] == "" {
		return journal.Socket{}, fmt.Errorf("a socket in state %d, which this labctl does not know", state)
	}
	s.State = stateNames[state]
	if state == stateClose && s.Local.Port() != 0 {
		s.State = stateNames[stateBoundQuery]
	}

	if timer != 0 {
		s.Timer = "timer " + strconv.Itoa(int(timer))
		if int(timer) < len(timerNames) {
			s.Timer = timerNames[timer]
		}
		left := int64(binary.NativeEndian.Uint32(b[52:]))
		s.TimeLeft = &left
	}

	err := eachAttribute(b[messageLen:], func(typ uint16, value []byte) {
		if typ == attributeV6Only && len(value) >= 1 {
			only := value[0] != 0
			s.V6Only = &only
		}
	})
	if err != nil {
		return journal.Socket{}, err
	}
	return s, nil
}

// eachAttribute walks netlink attributes: 16 bits of length, header included,
// 16 of type, the value, padded to 4 bytes.
func eachAttribute(b []byte, f func(typ uint16, value []byte)) error {
	const header = 4
	for len(b) >= header {
		n := int(binary.NativeEndian.Uint16(b))
		if n < header || n > len(b) {
			return fmt.Errorf("a socket's attribute of %d bytes, of which %d are there", n, len(b))
		}
		f(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[header:n])
		b = b[min(len(b), (n+3)&^3):]
	}
	return nil
}
