package sockdiag

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/netlab/netlabtest"
	"restartlab/labctl/internal/scenario"
)

var update = flag.Bool("update", false, "record testdata from this machine's kernel")

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

// bench is a lab with a connection to the server's tables.
type bench struct {
	t              *testing.T
	server, client *netlab.Host
	*Conn
}

func newBench(t *testing.T) *bench {
	t.Helper()
	netlabtest.Need(t)
	n, err := netlab.New([]scenario.Host{
		{Name: "server", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.144/24"), netip.MustParsePrefix("2001:db8:44::144/64")}},
		{Name: "client", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.145/24"), netip.MustParsePrefix("2001:db8:44::145/64")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, server: n.Host("server"), client: n.Host("client")}
	if err := b.server.Do(func() (err error) { b.Conn, err = Open(); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.Conn.Close(), n.Close()); err != nil {
			t.Error(err)
		}
	})
	return b
}

// on runs f on a host and ends the test if it fails.
func (b *bench) on(h *netlab.Host, f func() error) {
	b.t.Helper()
	if err := h.Do(f); err != nil {
		b.t.Fatal(err)
	}
}

func sockaddr(a netip.AddrPort) (sa unix.Sockaddr, family int) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, unix.AF_INET6
}

// bound is a socket bound to the address on the host.
func (b *bench) bound(h *netlab.Host, at string, v6only int) (fd int) {
	b.t.Helper()
	b.on(h, func() (err error) {
		sa, family := sockaddr(netip.MustParseAddrPort(at))
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if family == unix.AF_INET6 {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, v6only)
		}
		return errors.Join(err, unix.Bind(fd, sa))
	})
	b.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func (b *bench) listener(at string, v6only int) int {
	b.t.Helper()
	fd := b.bound(b.server, at, v6only)
	b.must(unix.Listen(fd, 8))
	return fd
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// dial connects from the client to a listener of the server.
func (b *bench) dial(to string) (fd int) {
	b.t.Helper()
	b.on(b.client, func() (err error) {
		sa, family := sockaddr(netip.MustParseAddrPort(to))
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.Connect(fd, sa)
	})
	return fd
}

// connection is a connection that the server has accepted.
func (b *bench) connection(listener int, to string) (server, client int) {
	b.t.Helper()
	client = b.dial(to)
	server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	b.must(err)
	return server, client
}

// addresses are a socket's own and its peer's.
func (b *bench) addresses(fd int) (local, remote netip.AddrPort) {
	b.t.Helper()
	addr := func(sa unix.Sockaddr, err error) netip.AddrPort {
		switch a := sa.(type) {
		case *unix.SockaddrInet4:
			return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
		case *unix.SockaddrInet6:
			return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
		}
		b.t.Fatal(err)
		return netip.AddrPort{}
	}
	return addr(unix.Getsockname(fd)), addr(unix.Getpeername(fd))
}

func (b *bench) cookie(fd int) uint64 {
	b.t.Helper()
	c, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	b.must(err)
	return c
}

func (b *bench) inode(fd int) uint64 {
	b.t.Helper()
	var st unix.Stat_t
	b.must(unix.Fstat(fd, &st))
	return st.Ino
}

// table awaits the rows of a port: the kernel may need a moment for a segment.
func (b *bench) table(port uint16, states ...string) []journal.Socket {
	b.t.Helper()
	var rows []journal.Socket
	var got []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var err error
		rows, err = b.Table(port)
		b.must(err)
		got = got[:0]
		for _, r := range rows {
			got = append(got, r.State)
		}
		if slices.Equal(got, states) {
			return rows
		}
	}
	b.t.Fatalf("port %d: got %q, want %q", port, got, states)
	return nil
}

func (b *bench) check(ok bool, s journal.Socket, what string) {
	b.t.Helper()
	if !ok {
		text, _ := json.Marshal(s)
		b.t.Errorf("%s: %s", what, text)
	}
}

func TestTableOfARealKernel(t *testing.T) {
	b := newBench(t)
	if u := b.Unlisted(); len(u) > 0 {
		t.Logf("this kernel does not list %q", u)
	}

	// A listener with one connection that nobody has accepted.
	l := b.listener("0.0.0.0:12500", 0)
	queued := b.dial("192.168.44.144:12500")
	defer unix.Close(queued)
	rows := b.table(12500, "LISTEN", "ESTABLISHED")
	b.check(rows[0].RecvQ == 1 && rows[0].SendQ == 8 && rows[0].Cookie == b.cookie(l) && rows[0].Inode == b.inode(l) &&
		rows[0].UID == uint32(os.Getuid()) && rows[0].Family == "tcp" && !rows[0].Remote.IsValid() && rows[0].V6Only == nil &&
		rows[0].Local.String() == "0.0.0.0:12500", rows[0], "listener")
	_, far := b.addresses(queued)
	near, _ := b.addresses(queued)
	b.check(rows[1].Local == far && rows[1].Remote == near && rows[1].Inode == 0, rows[1], "queued connection")
	b.record("listen-ipv4", 12500, "LISTEN")
	accepted, _, err := unix.Accept4(l, unix.SOCK_CLOEXEC)
	b.must(err)
	rows = b.table(12500, "LISTEN", "ESTABLISHED")
	b.check(rows[0].RecvQ == 0, rows[0], "empty queue")
	b.check(rows[1].Cookie == b.cookie(accepted) && rows[1].Inode == b.inode(accepted), rows[1], "accepted connection")
	b.record("established-ipv4", 12500, "ESTABLISHED")

	// The server closes first: FIN_WAIT2 until the client closes, TIME_WAIT
	// after; the same cookie all along.
	cookie := b.cookie(accepted)
	b.must(unix.Close(accepted))
	rows = b.table(12500, "LISTEN", "FIN_WAIT2")
	b.check(rows[1].Cookie == cookie && rows[1].Timer == "timewait" && rows[1].Inode == 0, rows[1], "orphan FIN_WAIT2, a minisocket")
	b.record("fin-wait2-ipv4", 12500, "FIN_WAIT2")
	b.must(unix.Close(queued))
	rows = b.table(12500, "LISTEN", "TIME_WAIT")
	b.check(rows[1].Cookie == cookie && isTimeWait(rows[1]), rows[1], "TIME_WAIT")
	b.record("time-wait-ipv4", 12500, "TIME_WAIT")

	// IPv6 alone.
	l6 := b.listener("[::]:12501", 1)
	s6, c6 := b.connection(l6, "[2001:db8:44::144]:12501")
	rows = b.table(12501, "LISTEN", "ESTABLISHED")
	b.check(rows[0].Family == "tcp6" && rows[0].V6Only != nil && *rows[0].V6Only, rows[0], "IPv6 listener")
	b.record("listen-ipv6-only", 12501, "LISTEN")
	b.must(unix.Shutdown(c6, unix.SHUT_WR))
	b.table(12501, "LISTEN", "CLOSE_WAIT")
	b.record("close-wait-ipv6", 12501, "CLOSE_WAIT")
	b.must(unix.Close(c6))
	b.must(unix.Close(s6)) // the client closed first: nothing is left here
	b.table(12501, "LISTEN")
	s6, c6 = b.connection(l6, "[2001:db8:44::144]:12501")
	b.must(unix.Close(s6))
	b.must(unix.Close(c6))
	rows = b.table(12501, "LISTEN", "TIME_WAIT")
	b.check(rows[1].Family == "tcp6" && isTimeWait(rows[1]) && rows[1].Local.String() == "[2001:db8:44::144]:12501", rows[1], "IPv6 TIME_WAIT")
	b.record("time-wait-ipv6", 12501, "TIME_WAIT")

	// A dual-stack listener called over IPv4.
	dual := b.listener("[::]:12502", 0)
	s, c := b.connection(dual, "192.168.44.144:12502")
	rows = b.table(12502, "LISTEN", "ESTABLISHED")
	b.check(rows[0].V6Only != nil && !*rows[0].V6Only, rows[0], "dual-stack listener")
	b.check(rows[1].Family == "tcp6" && rows[1].Local.String() == "[::ffff:192.168.44.144]:12502", rows[1], "IPv4 over IPv6")
	b.record("established-mapped", 12502, "ESTABLISHED")
	b.must(unix.Close(s))
	b.must(unix.Close(c))
	b.table(12502, "LISTEN", "TIME_WAIT")

	// A handshake that never ends: the caller does not exist.
	b.listener("0.0.0.0:12503", 0)
	b.sendSYN(netip.MustParseAddrPort("192.168.44.200:4444"), netip.MustParseAddrPort("192.168.44.144:12503"))
	rows = b.table(12503, "LISTEN", "SYN_RECV")
	b.check(rows[1].Remote.String() == "192.168.44.200:4444" && rows[1].Timer == "retransmit" && rows[1].Inode == 0, rows[1], "request socket")
	b.record("syn-recv-ipv4", 12503, "SYN_RECV")

	// The server calls somebody who does not exist.
	caller := b.bound(b.server, "192.168.44.144:12504", 0)
	b.must(unix.SetNonblock(caller, true))
	sa, _ := sockaddr(netip.MustParseAddrPort("192.168.44.200:80"))
	if err := unix.Connect(caller, sa); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	rows = b.table(12504, "SYN_SENT")
	b.check(rows[0].Cookie == b.cookie(caller), rows[0], "SYN_SENT")
	b.record("syn-sent-ipv4", 12504, "SYN_SENT")

	if len(b.Unlisted()) == 0 {
		only4, only6 := b.bound(b.server, "0.0.0.0:12505", 0), b.bound(b.server, "[::]:12505", 1)
		rows = b.table(12505, "BOUND", "BOUND")
		b.check(rows[0].Cookie == b.cookie(only4) && rows[0].V6Only == nil && !rows[0].Remote.IsValid(), rows[0], "bound")
		b.check(rows[1].Cookie == b.cookie(only6) && rows[1].V6Only != nil && *rows[1].V6Only, rows[1], "bound, IPv6")
		b.record("bound-ipv6-only", 12505, "BOUND")
	}

	all, err := b.Table(0)
	b.must(err)
	for _, want := range []string{"LISTEN", "SYN_RECV", "SYN_SENT", "TIME_WAIT"} {
		if !slices.ContainsFunc(all, func(s journal.Socket) bool { return s.State == want }) {
			t.Errorf("no %s in the whole table", want)
		}
	}
	if !slices.IsSortedFunc(all, compare) || all[0].State != "LISTEN" {
		t.Error("the table is not sorted")
	}
}

func isTimeWait(s journal.Socket) bool {
	// The timer wheel rounds 60 s up. In the first moment there may be none.
	return s.Timer == "timewait" && s.TimeLeft != nil && *s.TimeLeft > 50_000 && *s.TimeLeft < 66_000 && s.Inode == 0
}

// sendSYN sends a lone SYN from the client's host, with any source.
func (b *bench) sendSYN(from, to netip.AddrPort) {
	b.t.Helper()
	tcp := make([]byte, 20)
	binary.BigEndian.PutUint16(tcp, from.Port())
	binary.BigEndian.PutUint16(tcp[2:], to.Port())
	tcp[12], tcp[13] = 5<<4, 2 // header of 20 bytes, SYN
	tcp[14] = 64               // window
	src, dst := from.Addr().As4(), to.Addr().As4()
	pseudo := append(append(src[:], dst[:]...), 0, unix.IPPROTO_TCP, 0, byte(len(tcp)))
	var sum uint32
	for _, part := range [][]byte{pseudo, tcp} {
		for i := 0; i < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(tcp[16:], ^uint16(sum>>16+sum))
	ip := append([]byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0}, pseudo[:8]...) // the kernel adds its checksum
	b.on(b.client, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, append(ip, tcp...), 0, &unix.SockaddrInet4{Addr: dst})
	})
}

// record writes testdata, if asked to: the last socket of the port in the
// state, as the kernel sends it.
func (b *bench) record(name string, port uint16, state string) {
	b.t.Helper()
	if !*update {
		return
	}
	var last []byte
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		q := query{family: family, flags: unix.NLM_F_DUMP, states: allStates, local: netip.AddrPortFrom(netip.Addr{}, port)}
		b.seq++
		b.must(unix.Sendto(b.fd, q.encode(b.seq), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
		a := answer{seq: b.seq}
		for done := false; !done; {
			n, _, err := unix.Recvfrom(b.fd, b.buf, 0)
			b.must(err)
			done = a.add(b.buf[:n])
			for m := b.buf[:n]; len(m) >= headerLen; m = m[(binary.NativeEndian.Uint32(m)+3)&^3:] {
				body := m[headerLen:binary.NativeEndian.Uint32(m)]
				if s, err := Decode(body); err == nil && s.State == state {
					last = slices.Clone(body)
				}
			}
		}
	}
	s, err := Decode(last)
	b.must(err)
	meaning, err := json.MarshalIndent(s, "", "  ")
	b.must(err)
	var digits strings.Builder
	for part := range slices.Chunk(last, 16) {
		fmt.Fprintln(&digits, hex.EncodeToString(part))
	}
	b.must(os.WriteFile(filepath.Join("testdata", name+".txt"), []byte(digits.String()+"\n"+string(meaning)+"\n"), 0o644))
}

func TestLookup(t *testing.T) {
	b := newBench(t)
	l4, l6, dual := b.listener("0.0.0.0:12500", 0), b.listener("[::]:12501", 1), b.listener("[::]:12502", 0)
	for _, tt := range []struct {
		listener int
		to       string
	}{{l4, "192.168.44.144:12500"}, {l6, "[2001:db8:44::144]:12501"}, {dual, "192.168.44.144:12502"}} {
		s, c := b.connection(tt.listener, tt.to)
		local, remote := b.addresses(s)
		cookie := b.cookie(s)
		find := func(local, remote netip.AddrPort, state string) {
			t.Helper()
			for deadline := time.Now().Add(10 * time.Second); ; {
				got, err := b.Lookup(local, remote)
				if err != nil || got.Cookie != cookie || time.Now().After(deadline) {
					t.Fatalf("%v -> %v: %v, %+v, want %s", local, remote, err, got, state)
				}
				if got.State == state {
					return
				}
			}
		}
		find(local, remote, "ESTABLISHED")
		plain := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
		find(plain(local), plain(remote), "ESTABLISHED")

		// Nobody has this connection; the listener of the port must not pass for it.
		other := netip.AddrPortFrom(remote.Addr(), remote.Port()^1)
		if got, err := b.Lookup(local, other); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v -> %v: %v, %+v", local, other, err, got)
		}
		b.must(unix.Close(s))
		b.must(unix.Close(c))
		find(local, remote, "TIME_WAIT")
	}
	if _, err := b.Lookup(netip.AddrPort{}, netip.AddrPort{}); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("no addresses: %v", err)
	}
}

func TestAConnectionSeesItsOwnHostAlone(t *testing.T) {
	b := newBench(t)
	b.bound(b.client, "0.0.0.0:12500", 0)
	rows, err := b.Table(0)
	if err != nil || len(rows) > 0 {
		t.Errorf("%v, %+v", err, rows)
	}
}

func TestLargeTables(t *testing.T) {
	b := newBench(t)
	const sockets = 600 // a datagram holds about 340
	for i := range sockets {
		b.listener(fmt.Sprintf("192.168.44.144:%d", 20000+i), 0)
	}
	for _, size := range []int{bufferLen, 100, 4096} {
		b.buf = make([]byte, size)
		for range 3 {
			rows, err := b.Table(0)
			b.must(err)
			ports := map[uint16]bool{}
			for _, r := range rows {
				ports[r.Local.Port()] = true
			}
			if len(rows) != sockets || len(ports) != sockets {
				t.Fatalf("with a buffer of %d bytes: %d rows, %d ports", size, len(rows), len(ports))
			}
		}
	}
}
