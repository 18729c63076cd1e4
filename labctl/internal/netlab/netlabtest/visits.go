package netlabtest

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Host runs a function on a thread that is in a host's network namespace.
type Host interface{ Do(func() error) error }

// Port is where Listen listens.
const Port = 12500

// Pair is a listener and the way to it.
type Pair struct {
	Client   Host
	listener int
	to       unix.Sockaddr
	family   int
}

// Listen listens at an address of the server until the test is over.
func Listen(t testing.TB, server, client Host, a netip.Addr) *Pair {
	t.Helper()
	p := &Pair{Client: client, family: unix.AF_INET6, to: &unix.SockaddrInet6{Port: Port, Addr: a.As16()}}
	if a.Is4() {
		p.family, p.to = unix.AF_INET, &unix.SockaddrInet4{Port: Port, Addr: a.As4()}
	}
	err := server.Do(func() (err error) {
		p.listener, err = unix.Socket(p.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			err = unix.Bind(p.listener, p.to)
		}
		if err == nil {
			err = unix.Listen(p.listener, 16)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(p.listener) })
	return p
}

// Visit connects from the calling thread's host, lets the server send n bytes and
// close, and closes: all on one thread, since n bytes have room in the sockets.
// The server closes by a reset if asked to.
func (p *Pair) Visit(n int, reset bool) error {
	c, err := unix.Socket(p.family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(c)
	if err := unix.Connect(c, p.to); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s, _, err := unix.Accept4(p.listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	if _, err = unix.Write(s, make([]byte, n)); err == nil && reset {
		err = unix.SetsockoptLinger(s, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	}
	unix.Close(s)
	if err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	for n > 0 {
		k, err := unix.Read(c, b)
		if err != nil || k == 0 {
			return fmt.Errorf("read: %d %w", k, err)
		}
		n -= k
	}
	return nil
}

// Visits makes visits one after another from the client's host.
func (p *Pair) Visits(t testing.TB, count, n int, reset bool) {
	t.Helper()
	err := p.Client.Do(func() error {
		for range count {
			if err := p.Visit(n, reset); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
