package agent

import (
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/scenario"
)

// program is what the server and the client share: their calls, and where
// their lines go.
type program struct {
	calls
	out *os.File
	lab *channel // nil outside a lab
}

// say writes one line at once: whoever reads it sees it when it was said.
func (p *program) say(format string, args ...any) {
	fmt.Fprintf(p.out, format+"\n", args...)
}

// fail says what the article's programs say of a refused call, and returns
// their exit code: the errno, so that 98 is EADDRINUSE.
func (p *program) fail(what string, err error) int {
	number, text := message(err)
	p.say("%s error=%d(%s)!!!", what, number, text)
	return number
}

// serve is the article's server. It returns only on a refused call.
func (p *program) serve(s *scenario.Server) int {
	address := netip.AddrPortFrom(s.Address, s.Port)
	listener, err := p.socket(s.Address)
	if err != nil {
		return p.fail("create socket", err)
	}
	if err := p.options(listener, s.Options); err != nil {
		return p.fail("socket setsockopt", err)
	}
	if err := p.bind(listener, address); err != nil {
		return p.fail("socket bind", err)
	}
	if err := p.listen(listener, s.Backlog); err != nil {
		return p.fail("socket listen", err)
	}
	p.say("server init ok, start to accept new connect...")
	for i := 0; ; i++ {
		conn, err := p.accept(listener)
		switch err {
		case nil:
		case unix.EINTR, unix.ECONNABORTED: // accept(2): try again
			i--
			continue
		default:
			return p.fail("socket accept", err)
		}
		if s.Serve == scenario.ServeFork {
			// Before the line is printed: who reads it may rely on the child.
			if err := p.fork(conn, i); err != nil {
				p.say("fork error: %v!!!", err)
				return 1
			}
		}
		p.say("accept one new connect(%d)!!!", i)
		switch s.Serve {
		case scenario.ServeGreet:
			p.greet(conn, i)
			p.close(conn)
		case scenario.ServeEcho:
			go func() {
				p.greet(conn, i)
				p.echo(conn)
				p.close(conn)
			}()
		case scenario.ServeHold:
			// Nothing more: the connection lives as long as the process.
		case scenario.ServeFork:
			p.close(conn) // the child has its own descriptor of it
		}
	}
}

func (p *program) greet(conn, i int) {
	if _, err := p.write(conn, fmt.Appendf(nil, "connIdx=%d\n", i)); err != nil {
		p.say("send msg to client error!!!")
	}
}

// echo sends back what comes until the client has closed.
func (p *program) echo(conn int) {
	buf := make([]byte, 4096)
	for {
		n, err := p.read(conn, buf)
		if err == unix.EINTR {
			continue
		}
		if n == 0 || err != nil {
			return
		}
		for sent := 0; sent < n; {
			k, err := p.write(conn, buf[sent:n])
			if err != nil && err != unix.EINTR {
				return
			}
			sent += k
		}
	}
}
