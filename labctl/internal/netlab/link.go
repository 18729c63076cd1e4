package netlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// end is the interface with a host's addresses: one end of the link, or lo.
type end struct {
	host  string // for messages
	name  string
	index int
	mac   net.HardwareAddr // nil for lo
}

// linkIndex is the interface index of eth0, the same on every host. It leaves
// room for the tunnel devices that come with each new namespace where their
// modules are loaded (net.core.fb_tunnels_only_for_init_net).
const linkIndex = 20

const loIndex = 1 // LOOPBACK_IFINDEX

func loopback(host string) end { return end{host: host, name: "lo", index: loIndex} }

func linkEnd(host string, i int) end {
	return end{host: host, name: "eth0", index: linkIndex, mac: net.HardwareAddr{2, 0, 0, 0, 0, byte(i + 1)}}
}

func (e end) String() string { return e.name + " of " + e.host }

// makeLink makes a veth pair: a in the namespace of the socket, b in the one
// that the descriptor names, both down. The kernel refuses to bring b up in
// the same message (ENOTCONN).
func makeLink(a, b end, ns int) request {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, []byte("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC).Index = int32(b.index)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(b.name))
	peer.AddRtAttr(unix.IFLA_ADDRESS, b.mac)
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(ns)))

	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(a.index)
	return newRequest(fmt.Sprintf("make the link between %s and %s", a.host, b.host),
		unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		msg, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(a.name)), nl.NewRtAttr(unix.IFLA_ADDRESS, a.mac), info)
}

// offloadOff makes e compute the checksum of each segment before it is sent,
// instead of leaving that to hardware that a veth has not. That keeps the kernel
// from handing segments of up to 64 KiB to the link, too: TSO needs the checksum
// offload (netdev_fix_features). A capture then sees what a wire would carry.
// Any socket of the namespace will do for the ioctl.
func (s *socket) offloadOff(e end) error {
	value := ethtoolValue{unix.ETHTOOL_STXCSUM, 0}
	if err := ethtool(s.fd, e.name, unsafe.Pointer(&value)); err != nil {
		return fmt.Errorf("switch the checksum offload of %s off: %w", e, err)
	}
	return nil
}

// ethtoolValue is struct ethtool_value.
type ethtoolValue struct{ command, data uint32 }

// ethtool asks the interface of that name for what the value says.
func ethtool(fd int, name string, value unsafe.Pointer) error {
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}{data: value} // struct ifreq
	copy(request.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}

func setUp(e end, up bool) request {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(e.index)
	msg.Change = unix.IFF_UP
	word := "down"
	if up {
		msg.Flags, word = unix.IFF_UP, "up"
	}
	return newRequest(fmt.Sprintf("bring %s %s", e, word), unix.RTM_NEWLINK, 0, msg)
}

func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// addAddress gives e an address, or leaves it if it is there. An IPv6 address
// is not first checked for duplicates, which would take a second. On lo the
// prefix makes no route, or the whole subnet would be local.
func addAddress(e end, p netip.Prefix) request {
	ip := p.Addr().AsSlice()
	msg := nl.NewIfAddrmsg(int(family(p.Addr())))
	msg.Index = uint32(e.index)
	msg.Prefixlen = uint8(p.Bits())
	var flags uint32
	if !p.Addr().Is4() {
		flags |= unix.IFA_F_NODAD
	}
	if e.index == loIndex {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	return newRequest(fmt.Sprintf("add the address %s to %s", p, e),
		unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		msg, nl.NewRtAttr(unix.IFA_LOCAL, ip), nl.NewRtAttr(unix.IFA_ADDRESS, ip), nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(flags)))
}

// addNeighbour tells e where the address is, for good. The kernel's tables of
// neighbours are shared by all namespaces and overflow with hundreds of labs.
func addNeighbour(e, peer end, a netip.Addr) request {
	msg := &netlink.Ndmsg{Family: family(a), Index: uint32(e.index), State: unix.NUD_PERMANENT}
	return newRequest(fmt.Sprintf("add the neighbour %s to %s", a, e),
		unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE,
		msg, nl.NewRtAttr(unix.NDA_DST, a.AsSlice()), nl.NewRtAttr(unix.NDA_LLADDR, peer.mac))
}

func getLink(e end) request {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(e.index)
	return newRequest(fmt.Sprintf("look at %s", e), unix.RTM_GETLINK, 0, msg)
}

func getRoute(e end, a netip.Addr) request {
	msg := &nl.RtMsg{RtMsg: unix.RtMsg{Family: family(a), Dst_len: uint8(a.BitLen())}}
	return newRequest(fmt.Sprintf("look up the route to %s on %s", a, e.host),
		unix.RTM_GETROUTE, 0, msg, nl.NewRtAttr(unix.RTA_DST, a.AsSlice()))
}

// bringUp is what makes a host whole, and what makes it whole again after its
// interface was down: that loses the IPv6 addresses and all neighbours.
func (h *Host) bringUp() []request {
	var rs []request
	if h.peer != nil {
		rs = append(rs, setUp(loopback(h.name), true))
	}
	rs = append(rs, setUp(h.end, true))
	for _, p := range h.addresses {
		rs = append(rs, addAddress(h.end, p))
	}
	if h.peer != nil {
		for _, p := range h.peer.addresses {
			rs = append(rs, addNeighbour(h.end, h.peer.end, p.Addr()))
		}
	}
	return rs
}

// SetLink brings the host's interface up or down and returns when both ends
// have noticed. Up gives back the addresses and neighbours that were lost. A
// link carries segments while both its ends are up. SetLink must not be called
// for both ends at once.
func (h *Host) SetLink(up bool) error {
	requests := []request{setUp(h.end, false)}
	if up {
		requests = h.bringUp()
	}
	hosts := []*Host{h}
	if h.peer != nil {
		hosts = append(hosts, h.peer)
	}
	return onOwnThread(func() error {
		var sockets []*socket
		for _, h := range hosts {
			if err := h.enter(); err != nil {
				return err
			}
			s, err := openSocket()
			if err != nil {
				return fmt.Errorf("open a netlink socket on host %s: %w", h.name, err)
			}
			defer s.close()
			sockets = append(sockets, s)
		}
		if err := sockets[0].do(requests...); err != nil {
			return explained(err)
		}
		joined := true
		for i, h := range hosts {
			answers, err := sockets[i].ask(getLink(h.end))
			if err != nil {
				return err
			}
			joined = joined && len(answers) == 1 && isUp(answers[0])
		}
		for i, h := range hosts {
			if err := h.settle(sockets[i], joined); err != nil {
				return err
			}
		}
		return nil
	})
}

// explained adds to what the kernel refused why it may have.
func explained(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (it needs CAP_NET_ADMIN over the new namespace; where user namespaces are restricted, as on Ubuntu 24.04, they come without it)", err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%w (this kernel has no veth devices, CONFIG_VETH, or may not load the module)", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w (IPv6 is switched off there: see net.ipv6.conf.*.disable_ipv6)", err)
	}
	return err
}
