package scenario

import (
	"fmt"
	"strconv"
)

// Argv is the command line of the server, as a user would type it.
func (s *Server) Argv() []string {
	argv := []string{"labctl", "server", "--address", s.Address.String(), "--port", strconv.Itoa(int(s.Port))}
	argv = append(argv, s.Options.argv()...)
	if s.Backlog != DefaultBacklog {
		argv = append(argv, "--backlog", strconv.Itoa(s.Backlog))
	}
	if s.Serve != ServeGreet {
		argv = append(argv, "--serve", s.Serve)
	}
	return argv
}

// Argv is the command line of the client, as a user would type it.
func (c *Client) Argv() []string {
	argv := []string{"labctl", "client", "--address", c.Address.String(), "--port", strconv.Itoa(int(c.Port))}
	argv = append(argv, c.Options.argv()...)
	if c.CloseFirst {
		argv = append(argv, "--close-first")
	}
	if c.Hold {
		argv = append(argv, "--hold")
	}
	if c.Count != 1 {
		argv = append(argv, "--count", strconv.Itoa(c.Count))
	}
	return argv
}

func (o Options) argv() (argv []string) {
	flag := func(name string, on *bool) {
		if on != nil {
			argv = append(argv, fmt.Sprintf("--%s=%t", name, *on))
		}
	}
	flag("reuseaddr", o.ReuseAddr)
	flag("reuseport", o.ReusePort)
	flag("v6only", o.V6Only)
	if o.Linger != nil {
		argv = append(argv, "--linger", o.Linger.String())
	}
	return argv
}
