package explain

import "net/netip"

// socket is what the kernel's rule compares of one socket. A nil option is not
// known.
type socket struct {
	addr      netip.Addr
	v6only    *bool
	reuseAddr *bool
	reusePort *bool
	uid       *uint32
	device    uint32 // interface index of SO_BINDTODEVICE, 0 for none
	state     string // of the old socket only
}

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

// conflicts reports whether old keeps new from their common port: the rule of
// the kernel's inet_bind_conflict, for a port that the program chose. What is
// not known of a socket never excuses it.
func conflicts(new, old socket) bool {
	if new.device != 0 && old.device != 0 && new.device != old.device {
		return false
	}
	return overlap(new, old) && !excused(new, old)
}

// excused reports whether options let both sockets have the port: SO_REUSEADDR
// on both while the old one does not listen, or SO_REUSEPORT on both of one
// user, a TIME_WAIT's user being of no account.
func excused(new, old socket) bool {
	if isTrue(new.reuseAddr) && isTrue(old.reuseAddr) && old.state != "LISTEN" {
		return true
	}
	return isTrue(new.reusePort) && isTrue(old.reusePort) && (old.state == "TIME_WAIT" || sameUser(new, old))
}

func sameUser(new, old socket) bool { return new.uid != nil && old.uid != nil && *new.uid == *old.uid }

// overlap reports whether some packet could be meant for both addresses, as
// inet_rcv_saddr_equal decides it with wildcards allowed.
//
// The kernel keeps an IPv6 socket's IPv4 address apart: 0.0.0.0 meets every
// IPv6 socket that is not IPV6_V6ONLY, also a connection accepted on ::,
// while a definite IPv4 address meets only :: and its own v4-mapped form. Binding
// to a definite IPv6 address sets IPV6_V6ONLY by itself (inet6_bind), so only
// connections come in that odd way.
func overlap(new, old socket) bool {
	a, b := new.addr.WithZone(""), old.addr.WithZone("")
	a4, b4 := a.Is4() || a.Is4In6(), b.Is4() || b.Is4In6()
	switch {
	case a4 && b4:
		// An IPV6_V6ONLY socket can have no IPv4 address.
		a, b = a.Unmap(), b.Unmap()
		return a == b || a.IsUnspecified() || b.IsUnspecified()
	case a4: // b is IPv6 proper
		if isTrue(old.v6only) {
			return false
		}
		return b.IsUnspecified() || a.Is4() && a.IsUnspecified()
	case b4: // a is IPv6 proper
		return a.IsUnspecified() && !isTrue(new.v6only)
	}
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}
