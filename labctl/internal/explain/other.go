package explain

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"restartlab/labctl/internal/journal"
)

// notAvailable explains EADDRNOTAVAIL: the address is not one of the host's
// (bind(2); inet_bind and inet6_bind check it against the local routes).
func (l *lab) notAvailable(x *Explanation, call journal.Event) {
	h := l.host(call.Host)
	ip := x.Address.Addr().Unmap()
	switch own, known := h.owns(ip); {
	case !known:
		x.say(fmt.Sprintf("whether %s is an address of host %s is unknown", ip, call.Host))
	case !own:
		x.say(fmt.Sprintf("%s is not an address of host %s, which has %s", ip, call.Host, prefixes(h.addrs)), call.N, h.up)
		x.Fix = "bind one of the host's addresses, or 0.0.0.0 or :: for all of them"
	case h.link == "down" && ip.Is6():
		x.say(fmt.Sprintf("the link of host %s is down, and the kernel takes away its IPv6 addresses with it", call.Host), call.N, h.linkN)
		x.Fix = "set the link up and give the host its address again"
	default:
		x.say(fmt.Sprintf("host %s was given %s; why the kernel does not take it is unknown", call.Host, ip))
	}
}

// owns reports whether the host was given ip; known is false if no event told
// its addresses. Every address of 127.0.0.0/8, and ::1, belongs to each host.
func (h *host) owns(ip netip.Addr) (own, known bool) {
	if ip.IsLoopback() || ip.IsUnspecified() {
		return true, true
	}
	for _, p := range h.addrs {
		own = own || p.Addr().Unmap() == ip.WithZone("")
	}
	return own, h.up != 0
}

func prefixes(all []netip.Prefix) string {
	if len(all) == 0 {
		return "none"
	}
	each := make([]string, len(all))
	for i, p := range all {
		each[i] = p.Addr().String()
	}
	return strings.Join(each, ", ")
}

// denied explains EACCES: the port is privileged (ip(7)).
func (l *lab) denied(x *Explanation, call journal.Event) {
	const name = "net.ipv4.ip_unprivileged_port_start"
	s, ok := l.host(call.Host).sysctls[name]
	start, err := strconv.Atoi(strings.TrimSpace(s.value))
	port := int(x.Address.Port())
	if !ok || err != nil || port == 0 || port >= start {
		x.say("why is unknown")
		return
	}
	x.say(fmt.Sprintf("port %d is below %s = %d, so it needs CAP_NET_BIND_SERVICE", port, name, start), call.N, s.n)
	x.Fix = fmt.Sprintf("bind a port from %d on, give the program CAP_NET_BIND_SERVICE, or lower %s", start, name)
}

// invalid explains EINVAL: bind(2) gives it for a socket that has an address
// already, listen(2) for one that is connected.
func (l *lab) invalid(x *Explanation, call journal.Event) {
	s := l.find(call)
	switch {
	case s != nil && x.Call == "bind" && s.boundN != 0 && s.boundN != call.N:
		x.say(fmt.Sprintf("this socket is bound already, to %s", s.local), s.boundN, call.N)
		x.Fix = "bind each socket once; for another address make another socket"
	case s != nil && x.Call == "listen" && s.remote.IsValid():
		x.say(fmt.Sprintf("this socket is connected, to %s", s.remote), call.N)
		x.Fix = "listen on a socket of its own"
	default:
		x.say("why is unknown")
	}
}
