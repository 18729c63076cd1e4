// Package netlab makes the hosts of a lab: network namespaces without a name,
// joined by a link, with addresses, neighbours and kernel settings.
//
// It may assume that it runs inside: as root or with CAP_SYS_ADMIN and
// CAP_NET_ADMIN over its network namespace, with /proc mounted for its own PID
// namespace. It promises
//
//   - that nothing changes in the namespace that it is called from, but for OwnTables;
//   - that nothing it makes has a name, so that the kernel frees all of it when
//     the last descriptor and the last process are gone, however they went;
//   - that a lab returned by New is ready: the first segment sent is delivered;
//   - that labs do not disturb one another: any number may be made at once.
//
// Nothing ever moves from one namespace to another. A move makes the kernel
// unregister the device and wait for every CPU, which costs tens of
// milliseconds, and a crash in between would strand it on the machine.
package netlab

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/scenario"
)

// Network is a lab's hosts. It holds one descriptor for each.
type Network struct {
	hosts []*Host
	notes []string
}

// Host is one network namespace. Its methods may be called at any time, from
// any goroutine, until the Network is closed.
type Host struct {
	name      string
	addresses []netip.Prefix
	ns        netns.NsHandle
	end       end   // the interface with the addresses
	peer      *Host // at the other end of the link; nil for one host alone
	// fresh are the settings as they were opened to make the host, for the first
	// reading of them.
	fresh atomic.Pointer[settings]
}

// closeFresh lets go of the folders that fresh has open.
func (h *Host) closeFresh() {
	if s := h.fresh.Swap(nil); s != nil {
		s.close()
	}
}

// New makes one host, with its addresses on lo, or two, joined by a veth pair
// that both call eth0. Each host's sysctls are set before its interfaces come
// up; those of eth0 itself once it exists.
func New(hosts []scenario.Host) (*Network, error) {
	if len(hosts) != 1 && len(hosts) != 2 {
		return nil, fmt.Errorf("a lab has one host or two, not %d", len(hosts))
	}
	n := &Network{}
	for i, h := range hosts {
		n.hosts = append(n.hosts, &Host{name: h.Name, addresses: slices.Clone(h.Addresses), ns: netns.None(), end: loopback(h.Name)})
		if len(hosts) == 2 {
			n.hosts[i].end = linkEnd(h.Name, i)
		}
	}
	if len(hosts) == 2 {
		n.hosts[0].peer, n.hosts[1].peer = n.hosts[1], n.hosts[0]
	}
	if err := onOwnThread(func() error { return n.build(hosts) }); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// build makes everything. It leaves the calling thread in one of the hosts.
func (n *Network) build(hosts []scenario.Host) error {
	if !kernelHasIPv6() {
		n.dropIPv6()
	}
	// The kernel makes two namespaces at once on two CPUs: the second on a
	// thread of its own.
	sockets := make([]*socket, len(n.hosts))
	notes := make([]string, len(n.hosts))
	errs := make([]error, len(n.hosts))
	one := func(i int) {
		sockets[i], notes[i], errs[i] = n.hosts[i].make(hosts[i].Sysctls)
	}
	var others sync.WaitGroup
	for i := 1; i < len(hosts); i++ {
		others.Go(func() {
			if err := onOwnThread(func() error { one(i); return nil }); err != nil {
				errs[i] = errors.Join(errs[i], err)
			}
		})
	}
	one(0)
	others.Wait()
	defer func() {
		for _, s := range sockets {
			if s != nil {
				s.close()
			}
		}
	}()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	n.notes = append(n.notes, slices.DeleteFunc(notes, func(s string) bool { return s == "" })...)
	if len(n.hosts) == 2 {
		if err := sockets[0].do(makeLink(n.hosts[0].end, n.hosts[1].end, int(n.hosts[1].ns))); err != nil {
			return explained(err)
		}
		for i, h := range n.hosts {
			if err := sockets[i].offloadOff(h.end); err != nil {
				n.notes = append(n.notes, fmt.Sprintf("%v: segments captured there may be larger than those on a wire, with wrong checksums", err))
			}
		}
		for i, h := range n.hosts {
			if !slices.ContainsFunc(hosts[i].Sysctls, func(s scenario.Sysctl) bool { return ofLink(s.Name) }) {
				continue
			}
			if err := h.enter(); err != nil {
				return err
			}
			own := settingsOf(h.name)
			err := own.setAll(hosts[i].Sysctls, ofLink)
			own.close()
			if err != nil {
				return err
			}
		}
	}
	for i, h := range n.hosts {
		if err := sockets[i].do(h.bringUp()...); err != nil {
			return explained(err)
		}
	}
	for i, h := range n.hosts {
		if err := h.settle(sockets[i], true); err != nil {
			return err
		}
	}
	return nil
}

// make makes the host's namespace and sets what is set before any interface is
// up. It leaves the calling thread in the namespace. The socket, if there is
// one, is the caller's to close.
func (h *Host) make(sysctls []scenario.Sysctl) (s *socket, note string, err error) {
	if h.ns, err = netns.New(); err != nil {
		return nil, "", fmt.Errorf("make a network namespace for host %s: %w%s", h.name, err, namespaceHint(err))
	}
	if s, err = openSocket(); err != nil {
		return nil, "", fmt.Errorf("open a netlink socket on host %s: %w", h.name, err)
	}
	own := settingsOf(h.name)
	h.fresh.Store(own)
	if err := own.keepDefaults(); err != nil {
		return s, "", err
	}
	note = own.pinCongestionControl(sysctls)
	return s, note, own.setAll(sysctls, func(name string) bool { return !ofLink(name) })
}

// dropIPv6 takes the IPv6 addresses away and notes it.
func (n *Network) dropIPv6() {
	dropped := false
	for _, h := range n.hosts {
		had := len(h.addresses)
		h.addresses = slices.DeleteFunc(h.addresses, func(p netip.Prefix) bool { return !p.Addr().Is4() })
		dropped = dropped || len(h.addresses) < had
	}
	if dropped {
		n.notes = append(n.notes, "this kernel has no IPv6 (perhaps booted with ipv6.disable=1): the hosts have no IPv6 addresses")
	}
}

// kernelHasIPv6 tells by asking for a socket: with ipv6.disable=1 the family
// is never registered.
func kernelHasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return !errors.Is(err, unix.EAFNOSUPPORT)
	}
	unix.Close(fd)
	return true
}

// Host is the host of that name, nil if there is none.
func (n *Network) Host(name string) *Host {
	for _, h := range n.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

// Notes tells what could not be made as it should be, for the journal; empty
// on most machines.
func (n *Network) Notes() []string { return n.notes }

// Close gives the namespaces back. The kernel frees each, later, once no
// process and no socket is left in it.
func (n *Network) Close() error {
	var errs []error
	for _, h := range n.hosts {
		h.closeFresh()
		if h.ns.IsOpen() {
			if err := h.ns.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close host %s: %w", h.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Name is the host's name in the scenario.
func (h *Host) Name() string { return h.name }

// Interface names the interface that has the addresses: eth0, or lo for one
// host alone.
func (h *Host) Interface() string { return h.end.name }

// InterfaceIndex is the number of that interface, on this host.
func (h *Host) InterfaceIndex() int { return h.end.index }

// Addresses are the host's addresses, without those that Notes says could not
// be had.
func (h *Host) Addresses() []netip.Prefix { return slices.Clone(h.addresses) }

// NS is a descriptor of the namespace. It belongs to the Network.
func (h *Host) NS() int { return int(h.ns) }

// Do runs f on a thread that is in the host's namespace: sockets that f opens
// belong to the host, and so do processes that it starts itself. Goroutines
// that f starts do not. /proc/self and /proc/net mean the main thread, which
// stays where it is; f reads /proc/thread-self instead (/proc/sys follows the
// thread).
//
// f runs on a goroutine of its own, so Do may be called within Do. A process
// started with a parent-death signal dies with the thread that started it:
// f waits for it, or its starter uses the namespace NS in another way.
func (h *Host) Do(f func() error) error {
	return onOwnThread(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter takes the calling thread to the host. Only onOwnThread may run it.
func (h *Host) enter() error {
	if err := netns.Set(h.ns); err != nil {
		return fmt.Errorf("enter host %s: %w", h.name, err)
	}
	return nil
}

// errEnded stands for the result of a function that ended its goroutine
// instead of returning, as testing's FailNow does.
var errEnded = errors.New("the function ended its goroutine")

// onOwnThread runs f on a goroutine and a thread of its own, and puts the
// thread back into the namespace that it came from. A thread that cannot be
// put back is not given to another goroutine: it ends with this one.
//
// The main thread is spared. The runtime cannot end it, and the /proc/self/net
// of every other goroutine is that of the main thread.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errEnded
		defer func() { done <- err }()
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			err = onOwnThread(f) // on another, since this one is taken
			runtime.UnlockOSThread()
			return
		}
		home, e := netns.Get()
		if e != nil {
			runtime.UnlockOSThread() // nothing was changed
			err = fmt.Errorf("look up the current network namespace (is /proc mounted?): %w", e)
			return
		}
		defer home.Close()
		err = f()
		if e := netns.Set(home); e != nil {
			err = errors.Join(err, fmt.Errorf("return from a host's network namespace: %w", e))
			return
		}
		runtime.UnlockOSThread()
	}()
	return <-done
}

// Probe finds out whether labs can be made here by making one, for unshare may
// succeed and leave a process without any power over what it made. The error
// says which operation was refused; errors.Is finds the kernel's errno.
func Probe() error {
	n, err := New([]scenario.Host{{Name: "server"}, {Name: "client"}})
	if err != nil {
		return err
	}
	return n.Close()
}

// namespaceHint says what stands behind the errno of a refused unshare
// (namespaces(7), unshare(2)).
func namespaceHint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return " (it needs CAP_SYS_ADMIN, as root or in a user namespace)"
	case errors.Is(err, unix.ENOSPC):
		return " (the limit user.max_net_namespaces is reached: see sysctl user.max_net_namespaces)"
	case errors.Is(err, unix.EINVAL):
		return " (this kernel is built without network namespaces, CONFIG_NET_NS)"
	}
	return ""
}
