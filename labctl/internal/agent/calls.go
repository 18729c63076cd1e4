// Package agent is one process on one host of a lab: the article's server and
// client, on raw system calls, so that no socket option is set that nobody
// asked for (Go's net.Listen sets SO_REUSEADDR by itself).
//
// The same programs run outside a lab as "labctl server" and "labctl client".
// In a lab each records every socket call it makes, with the kernel's answer,
// over a channel to the runner; after a refused bind or listen it waits until
// the runner has read the socket table. It assumes nothing of the network
// namespace it finds itself in and needs no privilege.
package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// recorder takes what the kernel answered to a call. Its time is
// CLOCK_MONOTONIC, unlike that of the journal, which counts from the run's
// start.
type recorder interface {
	// record is told of each call when it has returned; what it returns is
	// an error of the recording, never of the call.
	record(journal.Syscall)
}

// calls makes socket calls and records them. A nil recorder records nothing.
type calls struct {
	rec recorder
}

// do makes one call and records it. The call returns the kernel's result; what
// else it learned it writes to s.
func (c calls) do(s *journal.Syscall, call func() (int, error)) error {
	s.Start = journal.Monotonic()
	result, err := call()
	s.Duration = journal.Monotonic() - s.Start
	s.Result = result
	if err != nil {
		s.Result = -1
		errno, _ := err.(unix.Errno)
		s.Number = int(errno)
		s.Errno = unix.ErrnoName(errno)
	}
	if c.rec != nil {
		if s.Name != "close" && s.FD >= 0 {
			s.Socket = facts(s.FD)
		}
		c.rec.record(*s)
	}
	return err
}

// facts asks the kernel what it holds of a socket. What it does not tell stays
// unset.
func facts(fd int) *journal.SocketFacts {
	var f journal.SocketFacts
	f.Cookie, _ = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if sa, err := unix.Getsockname(fd); err == nil {
		f.Local = endpoint(sa)
	}
	if sa, err := unix.Getpeername(fd); err == nil {
		f.Remote = endpoint(sa)
	}
	option := func(level, opt int) *bool {
		v, err := unix.GetsockoptInt(fd, level, opt)
		if err != nil {
			return nil
		}
		on := v != 0
		return &on
	}
	f.ReuseAddr = option(unix.SOL_SOCKET, unix.SO_REUSEADDR)
	f.ReusePort = option(unix.SOL_SOCKET, unix.SO_REUSEPORT)
	if f.Local.Addr().Is6() {
		f.V6Only = option(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	}
	return &f
}

func (c calls) socket(a netip.Addr) (fd int, err error) {
	s := journal.Syscall{Name: "socket", FD: -1, Args: journal.Args{Domain: "AF_INET", Type: "SOCK_STREAM"}}
	domain := unix.AF_INET
	if a.Is6() {
		domain, s.Args.Domain = unix.AF_INET6, "AF_INET6"
	}
	err = c.do(&s, func() (int, error) {
		fd, err = unix.Socket(domain, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		s.FD = fd
		return fd, err
	})
	return fd, err
}

// options sets what is asked for and nothing else.
func (c calls) options(fd int, o scenario.Options) error {
	flag := func(level, opt int, levelName, name string, on *bool) error {
		if on == nil {
			return nil
		}
		v := 0
		if *on {
			v = 1
		}
		s := journal.Syscall{Name: "setsockopt", FD: fd, Args: journal.Args{Level: levelName, Option: name, Value: fmt.Sprint(v)}}
		return c.do(&s, func() (int, error) { return 0, unix.SetsockoptInt(fd, level, opt, v) })
	}
	if err := flag(unix.SOL_SOCKET, unix.SO_REUSEADDR, "SOL_SOCKET", "SO_REUSEADDR", o.ReuseAddr); err != nil {
		return err
	}
	if err := flag(unix.SOL_SOCKET, unix.SO_REUSEPORT, "SOL_SOCKET", "SO_REUSEPORT", o.ReusePort); err != nil {
		return err
	}
	if err := flag(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, "IPPROTO_IPV6", "IPV6_V6ONLY", o.V6Only); err != nil {
		return err
	}
	if o.Linger == nil {
		return nil
	}
	l := unix.Linger{Onoff: 1, Linger: int32(o.Linger.Seconds())}
	s := journal.Syscall{Name: "setsockopt", FD: fd, Args: journal.Args{
		Level: "SOL_SOCKET", Option: "SO_LINGER", Value: fmt.Sprintf("{onoff 1, linger %d s}", l.Linger)}}
	return c.do(&s, func() (int, error) { return 0, unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &l) })
}

func (c calls) bind(fd int, a netip.AddrPort) error {
	s := journal.Syscall{Name: "bind", FD: fd, Args: journal.Args{Address: a}}
	return c.do(&s, func() (int, error) { return 0, unix.Bind(fd, sockaddr(a)) })
}

func (c calls) listen(fd, backlog int) error {
	s := journal.Syscall{Name: "listen", FD: fd, Args: journal.Args{Backlog: &backlog}}
	return c.do(&s, func() (int, error) { return 0, unix.Listen(fd, backlog) })
}

func (c calls) accept(listener int) (fd int, err error) {
	s := journal.Syscall{Name: "accept", FD: -1, Listener: listener}
	err = c.do(&s, func() (int, error) {
		var sa unix.Sockaddr
		fd, sa, err = unix.Accept4(listener, unix.SOCK_CLOEXEC)
		s.FD = fd
		if err == nil {
			s.Args.Address = endpoint(sa)
		}
		return fd, err
	})
	return fd, err
}

func (c calls) connect(fd int, a netip.AddrPort) error {
	s := journal.Syscall{Name: "connect", FD: fd, Args: journal.Args{Address: a}}
	return c.do(&s, func() (int, error) { return 0, unix.Connect(fd, sockaddr(a)) })
}

func (c calls) read(fd int, buf []byte) (n int, err error) {
	size := len(buf)
	s := journal.Syscall{Name: "read", FD: fd, Args: journal.Args{Bytes: &size}}
	err = c.do(&s, func() (int, error) {
		n, err = unix.Read(fd, buf)
		if n > 0 {
			s.Args.Text = start(buf[:n])
		}
		return n, err
	})
	return max(n, 0), err
}

func (c calls) write(fd int, text []byte) (n int, err error) {
	size := len(text)
	s := journal.Syscall{Name: "write", FD: fd, Args: journal.Args{Bytes: &size, Text: start(text)}}
	err = c.do(&s, func() (int, error) {
		n, err = unix.SendmsgN(fd, text, nil, nil, unix.MSG_NOSIGNAL)
		return n, err
	})
	return max(n, 0), err
}

func (c calls) close(fd int) error {
	s := journal.Syscall{Name: "close", FD: fd}
	if c.rec != nil {
		s.Socket = facts(fd) // before it is gone
	}
	return c.do(&s, func() (int, error) { return 0, unix.Close(fd) })
}

// start is what the journal keeps of a message.
func start(b []byte) string {
	const most = 64
	if len(b) > most {
		b = b[:most]
		for len(b) > 0 && !utf8.RuneStart(b[len(b)-1]) {
			b = b[:len(b)-1]
		}
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

func endpoint(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// message is the C library's text for an error, as the article prints it:
// "Address already in use".
func message(err error) (number int, text string) {
	errno, ok := err.(unix.Errno)
	if !ok {
		return 1, err.Error()
	}
	if errno == 0 {
		return 0, "Success"
	}
	text = errno.Error()
	return int(errno), strings.ToUpper(text[:1]) + text[1:]
}
