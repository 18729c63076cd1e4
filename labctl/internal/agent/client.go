package agent

import (
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/scenario"
)

// visit is the article's client: it connects, reads the greeting and the
// server's FIN, and closes; that as often as asked.
func (p *program) visit(c *scenario.Client) int {
	if c.Hold {
		return p.hold(c)
	}
	for range c.Count {
		conn, code := p.dial(c)
		if code != 0 {
			return code
		}
		if code := p.talk(conn, c.CloseFirst); code != 0 {
			return code
		}
		p.close(conn)
	}
	return 0
}

// dial makes one connection.
func (p *program) dial(c *scenario.Client) (conn, code int) {
	conn, err := p.socket(c.Address)
	if err != nil {
		return -1, p.fail("create socket", err)
	}
	if err := p.options(conn, c.Options); err != nil {
		return -1, p.fail("socket setsockopt", err)
	}
	if err := p.connect(conn, netip.AddrPortFrom(c.Address, c.Port)); err != nil {
		return -1, p.fail("socket connect", err)
	}
	p.say("connect to server ok!")
	return conn, 0
}

// talk reads the greeting and then, unless this side is to close first, the
// server's FIN.
func (p *program) talk(conn int, closeFirst bool) (code int) {
	buf := make([]byte, 1023)
	n, err := p.read(conn, buf)
	if n <= 0 {
		if err == nil {
			err = unix.Errno(0) // the article's client says the same of an early FIN
		}
		return max(p.fail("read", err), 1)
	}
	p.say("%s", strings.TrimSuffix(string(buf[:n]), "\n"))
	if closeFirst {
		return 0
	}
	p.fin(conn, buf)
	return 0
}

// fin reads once more, for the server's FIN, and says what came. It reports
// whether the connection is over.
func (p *program) fin(conn int, buf []byte) bool {
	n, err := p.read(conn, buf)
	switch {
	case err != nil:
		number, text := message(err)
		p.say("finRead(-1): errno(%d): %s", number, text)
		return true
	case n == 0:
		p.say("finRead(0): read FIN-Segment")
		return true
	}
	p.say("finRead(%d): %s", n, strings.TrimSuffix(string(buf[:n]), "\n"))
	return false
}

// hold makes all connections and keeps them until the process is signalled. It
// reads what comes, the server's FIN included, and closes nothing.
func (p *program) hold(c *scenario.Client) int {
	var open []unix.PollFd
	for range c.Count {
		conn, code := p.dial(c)
		if code != 0 {
			return code
		}
		open = append(open, unix.PollFd{Fd: int32(conn), Events: unix.POLLIN})
	}
	buf := make([]byte, 1023)
	greeted := make(map[int32]bool)
	for {
		// With every connection over, poll waits for the signal alone.
		if _, err := unix.Poll(open, -1); err != nil && err != unix.EINTR {
			return p.fail("poll", err)
		}
		for i := range open {
			fd := &open[i]
			if fd.Revents == 0 {
				continue
			}
			if greeted[fd.Fd] {
				if p.fin(int(fd.Fd), buf) {
					fd.Fd = -1 // poll(2) passes over it; the socket stays open
				}
				continue
			}
			greeted[fd.Fd] = true
			n, err := p.read(int(fd.Fd), buf)
			switch {
			case err != nil:
				number, text := message(err)
				p.say("read error=%d(%s)!!!", number, text)
				fd.Fd = -1
			case n == 0:
				p.say("finRead(0): read FIN-Segment")
				fd.Fd = -1
			default:
				p.say("%s", strings.TrimSuffix(string(buf[:n]), "\n"))
			}
		}
	}
}
