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
	of  string // the scenario's name of the socket, if it has one
}

// do makes one call and records it. The call returns the kernel's result; what
// else it learned it writes to s.
func (c calls) do(s *journal.Syscall, call func() (int, error)) error {
	s.Of = c.of
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

// socket makes a TCP socket for the address.
func (c calls) socket(a netip.Addr) (fd int, err error) {
	if a.Is6() {
		return c.socketOf(scenario.TCP6)
	}
	return c.socketOf(scenario.TCP4)
}

// socketOf makes a socket of one of scenario's kinds.
func (c calls) socketOf(kind string) (fd int, err error) {
	s := journal.Syscall{Name: "socket", FD: -1, Args: journal.Args{Domain: "AF_INET", Type: "SOCK_STREAM"}}
	domain, typ := unix.AF_INET, unix.SOCK_STREAM
	if kind == scenario.TCP6 || kind == scenario.UDP6 {
		domain, s.Args.Domain = unix.AF_INET6, "AF_INET6"
	}
	if kind == scenario.UDP4 || kind == scenario.UDP6 {
		typ, s.Args.Type = unix.SOCK_DGRAM, "SOCK_DGRAM"
	}
	err = c.do(&s, func() (int, error) {
		fd, err = unix.Socket(domain, typ|unix.SOCK_CLOEXEC, 0)
		s.FD = fd
		return fd, err
	})
	return fd, err
}

// options sets what is asked for and nothing else.
func (c calls) options(fd int, o scenario.Options) error {
	var set []scenario.Option
	flag := func(level, opt int, levelName, name string, on *bool) {
		if on != nil {
			v := 0
			if *on {
				v = 1
			}
			set = append(set, scenario.Option{Name: name, Level: level, Opt: opt, LevelName: levelName, Int: &v})
		}
	}
	flag(unix.SOL_SOCKET, unix.SO_REUSEADDR, "SOL_SOCKET", "SO_REUSEADDR", o.ReuseAddr)
	flag(unix.SOL_SOCKET, unix.SO_REUSEPORT, "SOL_SOCKET", "SO_REUSEPORT", o.ReusePort)
	flag(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, "IPPROTO_IPV6", "IPV6_V6ONLY", o.V6Only)
	if o.Linger != nil {
		set = append(set, scenario.Option{Name: "SO_LINGER", Level: unix.SOL_SOCKET, Opt: unix.SO_LINGER, LevelName: "SOL_SOCKET", Linger: o.Linger})
	}
	for _, o := range set {
		if err := c.option(fd, o); err != nil {
			return err
		}
	}
	return nil
}

// option sets one option.
func (c calls) option(fd int, o scenario.Option) error {
	s := journal.Syscall{Name: "setsockopt", FD: fd, Args: journal.Args{Level: o.LevelName, Option: o.Name}}
	set := func() error { return unix.SetsockoptString(fd, o.Level, o.Opt, o.Text) }
	switch {
	case o.Int != nil:
		s.Args.Value = fmt.Sprint(*o.Int)
		set = func() error { return unix.SetsockoptInt(fd, o.Level, o.Opt, *o.Int) }
	case o.Linger != nil:
		l := unix.Linger{Onoff: 1, Linger: int32(o.Linger.Seconds())}
		s.Args.Value = fmt.Sprintf("{onoff 1, linger %d s}", l.Linger)
		set = func() error { return unix.SetsockoptLinger(fd, o.Level, o.Opt, &l) }
	default:
		s.Args.Value = o.Text
	}
	return c.do(&s, func() (int, error) { return 0, set() })
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

func (c calls) shutdown(fd int, how string) error {
	numbers := map[string]int{"SHUT_RD": unix.SHUT_RD, "SHUT_WR": unix.SHUT_WR, "SHUT_RDWR": unix.SHUT_RDWR}
	s := journal.Syscall{Name: "shutdown", FD: fd, Args: journal.Args{How: how}}
	return c.do(&s, func() (int, error) { return 0, unix.Shutdown(fd, numbers[how]) })
}

// pass sends a copy of fd over a Unix socket (unix(7), SCM_RIGHTS).
func (c calls) pass(over, fd int) error {
	s := journal.Syscall{Name: "sendmsg", FD: fd}
	return c.do(&s, func() (int, error) {
		return unix.SendmsgN(over, []byte{0}, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
	})
}

// receive takes a descriptor that was passed.
func (c calls) receive(over int) (fd int, err error) {
	s := journal.Syscall{Name: "recvmsg", FD: -1}
	fd = -1
	err = c.do(&s, func() (int, error) {
		var data [1]byte
		control := make([]byte, unix.CmsgSpace(4))
		n, oobn, _, _, err := unix.Recvmsg(over, data[:], control, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			return n, err
		}
		fds, err := rights(control[:oobn])
		if err != nil || len(fds) != 1 {
			return n, unix.EBADMSG
		}
		fd = fds[0]
		s.FD = fd
		return n, nil
	})
	return fd, err
}

// rights are the descriptors that came with a message.
func rights(control []byte) (fds []int, err error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		more, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return fds, err
		}
		fds = append(fds, more...)
	}
	return fds, nil
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
