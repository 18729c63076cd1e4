package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/scenario"
)

// Namespace is a network namespace that somebody else has made, and its
// interfaces with an address of more than its own link.
type Namespace struct {
	file       *os.File
	interfaces []networkInterface
}

type networkInterface struct {
	name      string
	index     int
	addresses []netip.Prefix
}

// OpenNamespace opens the network namespace of a process and reads its
// addresses. It needs the right to look into the process and to enter the
// namespace.
func OpenNamespace(pid int) (*Namespace, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no process %d here (in a container, processes have other numbers: docker inspect -f '{{.State.Pid}}' NAME tells the machine's)", pid)
	case err != nil:
		return nil, fmt.Errorf("open the network namespace of process %d: %w", pid, err)
	}
	n := &Namespace{file: file}
	h := &Host{name: fmt.Sprintf("process %d", pid), ns: netns.NsHandle(file.Fd())}
	err = h.Do(func() (err error) {
		n.interfaces, err = interfaces()
		return err
	})
	if err == nil && len(n.interfaces) == 0 {
		err = fmt.Errorf("the network namespace of process %d has no address but those of lo", pid)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return n, nil
}

// interfaces are those of the calling thread's namespace.
func interfaces() (found []networkInterface, err error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces there: %w", err)
	}
	for _, i := range all {
		addresses, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		one := networkInterface{name: i.Name, index: i.Index}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
				one.addresses = append(one.addresses, p)
			}
		}
		if i.Flags&net.FlagLoopback == 0 && len(one.addresses) > 0 {
			found = append(found, one)
		}
	}
	return found, nil
}

// File is the namespace's descriptor, which belongs to the Namespace.
func (n *Namespace) File() *os.File { return n.file }

// Close gives the descriptor back.
func (n *Namespace) Close() error { return n.file.Close() }

// Same reports whether both are the same namespace.
func (n *Namespace) Same(other *Namespace) bool {
	a, errA := n.file.Stat()
	b, errB := other.file.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// Addresses are those that two hosts reach each other by: of the first interfaces
// with a subnet in common or, if a router must be between them, of the first.
func Addresses(a, b *Namespace) (of, ofOther []netip.Prefix) {
	for _, i := range a.interfaces {
		for _, j := range b.interfaces {
			if inOneSubnet(i.addresses, j.addresses) {
				return i.addresses, j.addresses
			}
		}
	}
	return a.Addresses(), b.Addresses()
}

// Addresses are those of its first interface.
func (n *Namespace) Addresses() []netip.Prefix { return n.interfaces[0].addresses }

func inOneSubnet(ps, qs []netip.Prefix) bool {
	for _, p := range ps {
		for _, q := range qs {
			if p.Contains(q.Addr()) && q.Contains(p.Addr()) {
				return true
			}
		}
	}
	return false
}

// Join makes a Network of namespaces that were there before, by descriptor. It
// changes nothing in them: they keep their links, addresses, neighbours, settings
// and offloads. Closing the Network leaves them as they are.
func Join(hosts []scenario.Host, namespaces map[string]int) (*Network, error) {
	n := &Network{}
	for _, h := range hosts {
		fd, there := namespaces[h.Name]
		if !there {
			return nil, errors.Join(fmt.Errorf("join host %s: no namespace was handed in for it", h.Name), n.Close())
		}
		own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("join host %s: %w", h.Name, err), n.Close())
		}
		host := &Host{name: h.Name, addresses: h.Addresses, ns: netns.NsHandle(own)}
		n.hosts = append(n.hosts, host)
		host.end = loopback(h.Name) // what one host says to itself goes there
		if len(hosts) == 1 {
			continue
		}
		err = host.Do(func() error {
			note, err := host.lookAtEnd()
			if note != "" {
				n.notes = append(n.notes, note)
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
	}
	return n, nil
}

// lookAtEnd finds the interface with the host's first address, and notes what
// its offload does to what is captured there.
func (h *Host) lookAtEnd() (note string, err error) {
	all, err := interfaces()
	if err != nil {
		return "", fmt.Errorf("join host %s: %w", h.name, err)
	}
	for _, i := range all {
		for _, p := range i.addresses {
			if len(h.addresses) > 0 && p == h.addresses[0] {
				h.end = end{host: h.name, name: i.name, index: i.index}
				return h.end.offloadNote(), nil
			}
		}
	}
	return "", fmt.Errorf("join host %s: its address %v is gone", h.name, h.addresses)
}

// offloadNote says so if the checksum offload is on. Any socket of the namespace
// will do for the ioctl.
func (e end) offloadNote() string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	value := ethtoolValue{command: unix.ETHTOOL_GTXCSUM}
	if ethtool(fd, e.name, unsafe.Pointer(&value)) != nil || value.data == 0 {
		return ""
	}
	return fmt.Sprintf("the checksum offload of %s is on, and is left on: segments recorded there may be larger than those on a wire, with checksums not yet computed", e)
}
