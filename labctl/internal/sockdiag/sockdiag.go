// Package sockdiag reads the kernel's TCP socket tables over netlink, as ss(8)
// does (sock_diag(7)), with a decoder of its own: the libraries at hand show
// neither bound sockets nor IPV6_V6ONLY, and lose rows without a word.
//
// It may assume that it runs on Linux; it needs no privilege. It promises to
// show only what the kernel listed, to say when a table may be incomplete, and
// to decode any bytes without harm.
package sockdiag

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// Conn asks about the network namespace in which it was opened, from whichever
// thread. It must not be used by two goroutines at once.
type Conn struct {
	fd       int
	seq      uint32
	buf      []byte
	unlisted []string
	hears    *hearing // nil: it does not
}

// ErrNotFound says that there is no socket with the addresses asked for.
var ErrNotFound = errors.New("no such socket")

// answerTime bounds the wait for the kernel, which answers in the same call
// unless something is broken.
const answerTime = 10 * time.Second

// bufferLen is the largest datagram that the kernel makes for a dump: it goes
// by the reader's buffer, up to this (netlink_dump).
const bufferLen = 32 << 10

// attempts is how often a dump is made that the kernel calls inconsistent.
const attempts = 3

// Open opens a connection in the calling thread's network namespace. To find
// out whether this kernel lists bound sockets it binds one there, to a port
// that the kernel chooses, looks for it, and closes it.
func Open() (*Conn, error) {
	c, err := open()
	if err != nil {
		return nil, err
	}
	listed := bound.Load()
	if !listed {
		if listed, err = c.listsBound(); err != nil {
			c.Close()
			return nil, err
		}
		bound.Store(listed)
	}
	c.lists(listed)
	return c, nil
}

// OpenPassive is Open for a namespace that is not ours to bind in: whether the
// kernel lists bound sockets is told by its release, 6.8 or later.
func OpenPassive() (*Conn, error) {
	c, err := open()
	if err != nil {
		return nil, err
	}
	var u unix.Utsname
	var major, minor int
	if unix.Uname(&u) == nil {
		fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &major, &minor) // what cannot be read is an old kernel
	}
	c.lists(major > 6 || major == 6 && minor >= 8)
	return c, nil
}

// bound says that the kernel was seen to list bound sockets.
var bound atomic.Bool

// lists notes whether bound sockets are listed.
func (c *Conn) lists(bound bool) {
	if !bound {
		c.unlisted = []string{stateNames[stateBoundQuery]}
	}
}

func open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open a socket for the kernel's socket tables (NETLINK_SOCK_DIAG): %w", err)
	}
	c := &Conn{fd: fd, buf: make([]byte, bufferLen)}
	tv := unix.NsecToTimeval(answerTime.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		c.Close()
		return nil, fmt.Errorf("set up the socket for the kernel's socket tables: %w", err)
	}
	return c, nil
}

// listsBound tries whether the kernel lists a socket that is bound and does
// nothing else: Linux 6.8 does, and older ones with the change (91051f003948).
// If no socket can be bound, as when all ports are taken, it is not known to.
func (c *Conn) listsBound() (bool, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, nil
	}
	defer unix.Close(fd)
	if unix.Bind(fd, &unix.SockaddrInet4{}) != nil {
		return false, nil
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return false, nil
	}
	local, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return false, nil
	}
	rows, err := c.dump(query{family: unix.AF_INET, flags: unix.NLM_F_DUMP, states: boundState,
		local: netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(local.Port))})
	return len(rows) > 0, err
}

// Unlisted names the states that Table cannot show on this kernel: BOUND, or
// nothing.
func (c *Conn) Unlisted() []string { return slices.Clone(c.unlisted) }

// Close gives the descriptor back.
func (c *Conn) Close() error { return unix.Close(c.fd) }

// Table is every TCP socket with this local port, or every one for port 0:
// IPv4 and IPv6, in every state, listeners first. The kernel walks its tables
// while they change, so the rows need not all be of the same
// instant. With an error the rows that were read are returned too.
func (c *Conn) Table(port uint16) ([]journal.Socket, error) { return c.table(port, allStates) }

// Glance is Table without sockets that are bound and do nothing more. For those the
// kernel walks all ports of the machine, whosever they are, which is most of the cost of
// looking at a small table.
func (c *Conn) Glance(port uint16) ([]journal.Socket, error) {
	return c.table(port, allStates&^boundState)
}

func (c *Conn) table(port uint16, states uint32) ([]journal.Socket, error) {
	rows, err := c.dump(query{family: unix.AF_UNSPEC, flags: unix.NLM_F_DUMP, states: states,
		local: netip.AddrPortFrom(netip.Addr{}, port)})
	slices.SortStableFunc(rows, compare)
	return rows, err
}

// UDP is Table for UDP sockets. A socket that is not connected is in the state
// UNCONN, as ss(8) calls it.
func (c *Conn) UDP(port uint16) ([]journal.Socket, error) {
	var rows []journal.Socket
	var errs []error
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		more, err := c.dump(query{family: family, udp: true, flags: unix.NLM_F_DUMP, states: allStates,
			local: netip.AddrPortFrom(netip.Addr{}, port)})
		for _, r := range more {
			r.Family = "udp" + strings.TrimPrefix(r.Family, "tcp")
			if r.State != "ESTABLISHED" {
				r.State = "UNCONN"
			}
			rows = append(rows, r)
		}
		errs = append(errs, err)
	}
	slices.SortStableFunc(rows, compare)
	return rows, errors.Join(errs...)
}

// Lookup finds the one socket with both addresses, TIME_WAIT included, without
// walking a table. It returns ErrNotFound if there is none, or if the one that
// is there is bound to a device (SO_BINDTODEVICE), which this query does not
// see. IPv4 addresses and those mapped into IPv6 are the same here, as they
// are to the kernel.
func (c *Conn) Lookup(local, remote netip.AddrPort) (journal.Socket, error) {
	if !local.IsValid() || !remote.IsValid() || local.Addr().BitLen() != remote.Addr().BitLen() {
		return journal.Socket{}, fmt.Errorf("look up the socket %v -> %v: not two addresses of one family", local, remote)
	}
	q := query{family: unix.AF_INET, states: allStates, local: local, remote: remote}
	if local.Addr().Is6() {
		q.family = unix.AF_INET6
	}
	a, err := c.ask(q)
	switch {
	case errors.Is(err, unix.ENOENT):
		return journal.Socket{}, ErrNotFound
	case err != nil:
		return journal.Socket{}, fmt.Errorf("look up the socket %v -> %v: %w", local, remote, err)
	}
	// Without such a connection the kernel goes on to the listeners.
	for _, s := range a.rows {
		if same(s.Local, local) && same(s.Remote, remote) {
			return s, nil
		}
	}
	return journal.Socket{}, ErrNotFound
}

func same(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().Unmap() == b.Addr().Unmap().WithZone("")
}

// dump asks for a table and asks again while the kernel says that it changed
// underneath.
func (c *Conn) dump(q query) ([]journal.Socket, error) {
	table, module := "TCP", "tcp_diag"
	if q.udp {
		table, module = "UDP", "udp_diag"
	}
	switch q.family {
	case unix.AF_INET:
		table = "IPv4 " + table
	case unix.AF_INET6:
		table = "IPv6 " + table
	}
	for try := 1; ; try++ {
		a, err := c.ask(q)
		switch {
		case q.family == unix.AF_INET6 && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EAFNOSUPPORT)):
			return nil, nil // a kernel without IPv6
		case errors.Is(err, unix.ENOENT):
			return nil, fmt.Errorf("read the %s socket table: %w (this kernel lacks the module %s, or may not load it)", table, err, module)
		case err != nil:
			return a.rows, fmt.Errorf("read the %s socket table: %w", table, err)
		case !a.interrupted:
			return a.rows, nil
		case try == attempts:
			return a.rows, fmt.Errorf("read the %s socket table: it changed during each of %d readings, so rows may be missing", table, attempts)
		}
	}
}

// ask sends the query and reads the whole answer, again with a larger buffer
// if a datagram did not fit. Even an answer that went wrong is read to its
// end: the kernel refuses a second dump beside an unfinished one.
func (c *Conn) ask(q query) (answer, error) {
	for {
		if err := c.listen(); err != nil {
			return answer{}, err
		}
		c.seq++
		a := answer{seq: c.seq, one: q.flags&unix.NLM_F_DUMP == 0}
		if err := unix.Sendto(c.fd, q.encode(c.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return a, err
		}
		needed := 0
		for done := false; !done; {
			flags := unix.MSG_TRUNC
			broken := needed > 0 || a.err != nil
			if broken {
				flags |= unix.MSG_DONTWAIT // the end may have been in what was lost
			}
			n, _, err := unix.Recvfrom(c.fd, c.buf, flags)
			switch {
			case err == unix.EINTR:
			case err == unix.EAGAIN && broken:
				done = true
			case c.heard(c.buf[:max(0, min(n, len(c.buf)))], err):
			case err == unix.EAGAIN:
				return a, fmt.Errorf("no answer within %v", answerTime)
			case err != nil:
				return a, err
			case n > len(c.buf):
				needed = max(needed, n)
				done = a.one
			default:
				done = a.add(c.buf[:n])
			}
		}
		if needed == 0 {
			return a, a.err
		}
		c.buf = make([]byte, needed)
	}
}

// order is that of a table's rows: what offers a port, then a connection's
// life from beginning to end.
var order = [...]string{"LISTEN", "BOUND", "CLOSE", "UNCONN", "SYN_SENT", "SYN_RECV", "ESTABLISHED",
	"FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "LAST_ACK", "CLOSING", "TIME_WAIT"}

// States are the states that a table can show, in the order of its rows.
func States() []string { return slices.Clone(order[:]) }

func compare(a, b journal.Socket) int {
	return cmp.Or(
		cmp.Compare(slices.Index(order[:], a.State), slices.Index(order[:], b.State)),
		a.Local.Compare(b.Local),
		a.Remote.Compare(b.Remote),
		cmp.Compare(a.Cookie, b.Cookie),
	)
}
