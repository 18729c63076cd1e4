// Package occupant finds out who is on a port of this machine: the sockets of
// one's own network namespace and, as root, of all others, the processes that
// have them open, and what else decides about a bind.
//
// It may assume Linux with /proc, and needs no privilege for what the kernel
// shows to everyone; what it could not see it says. It promises to bind nothing,
// to send nothing and to leave every socket as it was: it reads socket tables,
// /proc, and, of processes that it may look into, the options of a descriptor
// that it holds for that moment (pidfd_getfd(2)).
package occupant

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/sockdiag"
	"restartlab/labctl/internal/trace"
)

// Query is what is asked about.
type Query struct {
	Port    uint16     // 0: every port
	Address netip.Addr // none: all
	UDP     bool
}

// Looker looks, again and again if wanted. It is not for two goroutines.
type Looker struct {
	own   *sockdiag.Conn
	notes []string
	// memory reads the options of sockets that no process has. It is opened when
	// the first is met, which takes a third of a second; refused says why not.
	memory  *trace.Tracer
	refused error
}

// Open gets ready to look from the calling thread's network namespace.
func Open() (*Looker, error) {
	own, err := sockdiag.OpenPassive()
	if err != nil {
		return nil, err
	}
	l := &Looker{own: own}
	if len(own.Unlisted()) > 0 {
		l.notes = append(l.notes, "this kernel does not list sockets that are bound and do nothing more (Linux 6.8 and later do): one of those could hold the port unseen")
	}
	return l, nil
}

// Close gives the descriptors back.
func (l *Looker) Close() error {
	err := l.own.Close()
	if l.memory != nil {
		err = errors.Join(err, l.memory.CloseMemory())
	}
	return err
}

// Port reads what is on the port that is asked about, now.
func (l *Looker) Port(q Query) (*explain.Port, error) {
	rows, err := l.rows(l.own, q)
	if err != nil {
		return nil, err
	}
	p := &explain.Port{Protocol: "tcp", Number: q.Port, Address: q.Address, UID: uint32(os.Geteuid()), Notes: slices.Clone(l.notes)}
	if q.UDP {
		p.Protocol = "udp"
	}
	procs := processes()
	p.Occupants = procs.occupants(rows, "")
	if err := l.remember(p.Occupants); err != nil {
		p.Notes = append(p.Notes, fmt.Sprintf("the options of sockets that no process has could not be read: %v", err))
	}
	switch {
	case !hidden(p.Occupants):
	case os.Geteuid() == 0:
		p.Notes = append(p.Notes, "a process that is not named has its descriptors hidden from this root: it is outside this PID namespace, or protected")
	default:
		p.Notes = append(p.Notes, "which process of another user has a socket open is shown to root alone")
	}
	if capable(unix.CAP_SYS_ADMIN) {
		elsewhere, notes := procs.elsewhere(l, q)
		p.Elsewhere = elsewhere
		p.Notes = append(p.Notes, notes...)
	} else {
		p.Notes = append(p.Notes, "other network namespaces, such as those of containers, are shown to root alone")
	}
	l.limits(p)
	return p, nil
}

// remember fills in the options that no descriptor tells, as root: from the kernel's
// own memory.
func (l *Looker) remember(all []explain.Occupant) error {
	unknown := func(o explain.Occupant) bool { return o.Options.ReuseAddr == nil && o.Socket.State != "UNCONN" }
	if !slices.ContainsFunc(all, unknown) || !capable(unix.CAP_BPF) || !capable(unix.CAP_PERFMON) {
		return nil
	}
	if l.memory == nil && l.refused == nil {
		l.memory, l.refused = trace.OpenMemory()
	}
	if l.refused != nil {
		return l.refused
	}
	held, err := l.memory.Bindings()
	if err != nil {
		return err
	}
	for i := range all {
		row := []journal.Socket{all[i].Socket}
		if held.AddTo(row); unknown(all[i]) {
			all[i].Options.ReuseAddr, all[i].Options.ReusePort = row[0].ReuseAddr, row[0].ReusePort
		}
	}
	return nil
}

// Ports reads every port that a socket of one's own namespace is on, in order.
func (l *Looker) Ports(q Query) ([]*explain.Port, error) {
	rows, err := l.rows(l.own, q)
	if err != nil {
		return nil, err
	}
	procs := processes()
	byPort := map[uint16]*explain.Port{}
	var all []*explain.Port
	for _, o := range procs.occupants(rows, "") {
		n := o.Socket.Local.Port()
		p := byPort[n]
		if p == nil {
			p = &explain.Port{Protocol: "tcp", Number: n, UID: uint32(os.Geteuid())}
			if q.UDP {
				p.Protocol = "udp"
			}
			l.limits(p)
			p.Notes = nil
			byPort[n] = p
			all = append(all, p)
		}
		p.Occupants = append(p.Occupants, o)
	}
	slices.SortFunc(all, func(a, b *explain.Port) int { return int(a.Number) - int(b.Number) })
	return all, nil
}

func (l *Looker) rows(c *sockdiag.Conn, q Query) ([]journal.Socket, error) {
	if q.UDP {
		return c.UDP(q.Port)
	}
	return c.Table(q.Port)
}

// hidden reports whether a process has one of the sockets that is not ours to
// see. A connection that waits to be accepted has no inode.
func hidden(all []explain.Occupant) bool {
	return slices.ContainsFunc(all, func(o explain.Occupant) bool { return o.Socket.Inode != 0 && len(o.Owners) == 0 })
}

// limits reads what else decides about a bind to the port.
func (l *Looker) limits(p *explain.Port) {
	note := func(format string, args ...any) { p.Notes = append(p.Notes, fmt.Sprintf(format, args...)) }
	_, err := os.Stat("/proc/thread-self/net/if_inet6")
	p.IPv6 = err == nil
	p.V6Only = setting("net/ipv6/bindv6only") == "1"
	if first, err := strconv.Atoi(setting("net/ipv4/ip_unprivileged_port_start")); err == nil && int(p.Number) < first {
		p.Denied = !capable(unix.CAP_NET_BIND_SERVICE)
		note("port %d is privileged: below net.ipv4.ip_unprivileged_port_start (%d) a bind needs CAP_NET_BIND_SERVICE", p.Number, first)
	}
	reserved := within(p.Number, setting("net/ipv4/ip_local_reserved_ports"))
	if reserved {
		note("port %d is in net.ipv4.ip_local_reserved_ports: the kernel never picks it by itself", p.Number)
	}
	if r := strings.Fields(setting("net/ipv4/ip_local_port_range")); len(r) == 2 && within(p.Number, r[0]+"-"+r[1]) && !reserved {
		note("port %d is in the ephemeral range (%s to %s): any outgoing connection may be given it; keep it free with net.ipv4.ip_local_reserved_ports", p.Number, r[0], r[1])
	}
	if a := p.Address; a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() {
		here, err := local(a)
		if err != nil {
			note("whether %s is an address of this machine could not be read: %v", a, err)
		} else if !here {
			p.Foreign = setting("net/ipv4/ip_nonlocal_bind") != "1" || a.Is6()
		}
	}
}

// local reports whether an address is one of this machine's. All of lo's IPv4
// network is.
func local(a netip.Addr) (bool, error) {
	links, err := net.Interfaces()
	if err != nil {
		return false, err
	}
	for _, link := range links {
		addresses, err := link.Addrs()
		if err != nil {
			return false, err
		}
		for _, text := range addresses {
			prefix, err := netip.ParsePrefix(text.String())
			if err != nil {
				continue
			}
			if prefix.Addr() == a.Unmap() || link.Flags&net.FlagLoopback != 0 && prefix.Addr().Is4() && prefix.Contains(a.Unmap()) {
				return true, nil
			}
		}
	}
	return false, nil
}

// within reports whether a port is in a list such as "8080,9000-9100".
func within(port uint16, list string) bool {
	for part := range strings.SplitSeq(list, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		if !ranged {
			to = from
		}
		low, err1 := strconv.Atoi(from)
		high, err2 := strconv.Atoi(to)
		if err1 == nil && err2 == nil && low <= int(port) && int(port) <= high {
			return true
		}
	}
	return false
}

// setting is a kernel setting of the thread's namespace, empty where there is
// none.
func setting(name string) string {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// capable reports whether this process has a capability in effect.
func capable(capability uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) != nil {
		return false
	}
	return sets[capability/32].Effective&(1<<(capability%32)) != 0
}
