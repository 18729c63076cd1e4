package cli

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/scenario"
)

// endpoint holds the flags that server and client share.
type endpoint struct {
	address              string
	port                 int
	reuseaddr, reuseport bool
	v6only               bool
	linger               time.Duration
}

func (e *endpoint) flags(cmd *cobra.Command, address string) {
	f := cmd.Flags()
	f.StringVar(&e.address, "address", address, "IPv4 or IPv6 `address`")
	f.IntVar(&e.port, "port", scenario.DefaultPort, "TCP port")
	f.BoolVar(&e.reuseaddr, "reuseaddr", false, "set SO_REUSEADDR")
	f.BoolVar(&e.reuseport, "reuseport", false, "set SO_REUSEPORT")
	f.BoolVar(&e.v6only, "v6only", false, "set IPV6_V6ONLY (IPv6 addresses)")
	f.DurationVar(&e.linger, "linger", 0, "set SO_LINGER to whole seconds; 0s makes close() send a reset")
}

// parse checks the flags. An option that was not given is not set on the socket.
func (e *endpoint) parse(cmd *cobra.Command) (a netip.Addr, o scenario.Options, err error) {
	if a, err = netip.ParseAddr(e.address); err != nil {
		return a, o, fmt.Errorf("--address %s: not an IPv4 or IPv6 address", e.address)
	}
	if a.Zone() != "" {
		return a, o, fmt.Errorf("--address %s: addresses with a zone are not supported", e.address)
	}
	if e.port < 1 || e.port > 65535 {
		return a, o, fmt.Errorf("--port %d: ports are 1 to 65535", e.port)
	}
	given := func(name string, v *bool) *bool {
		if cmd.Flags().Changed(name) {
			return v
		}
		return nil
	}
	o = scenario.Options{ReuseAddr: given("reuseaddr", &e.reuseaddr), ReusePort: given("reuseport", &e.reuseport), V6Only: given("v6only", &e.v6only)}
	if o.V6Only != nil && a.Is4() {
		return a, o, errors.New("--v6only needs an IPv6 address")
	}
	if cmd.Flags().Changed("linger") {
		if e.linger < 0 || e.linger%time.Second != 0 {
			return a, o, fmt.Errorf("--linger %s: the kernel takes whole seconds", e.linger)
		}
		o.Linger = &e.linger
	}
	return a, o, nil
}

func (a *app) server() *cobra.Command {
	var e endpoint
	var backlog int
	var serve string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "the article's server, on this machine",
		Long: `Server is the article's server on raw system calls: socket, bind, listen, then
for each connection accept, send "connIdx=N", close. It sets no socket option
that is not asked for. A refused call ends it with the errno as exit code: 98 is
EADDRINUSE. It serves until it is signalled.`,
		Example: `  labctl server                       # in one terminal; then, in another:
  labctl client --address 127.0.0.1
  labctl server --reuseaddr --serve fork`,
		Args: arguments(0, "only flags"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			address, options, err := e.parse(cmd)
			if err != nil {
				return err
			}
			if backlog < 0 {
				return fmt.Errorf("--backlog %d: it cannot be negative", backlog)
			}
			switch serve {
			case scenario.ServeGreet, scenario.ServeEcho, scenario.ServeHold, scenario.ServeFork:
			default:
				return fmt.Errorf("--serve %s: the ways to serve are greet, echo, hold and fork", serve)
			}
			a.code = agent.Serve(&scenario.Server{Address: address, Port: uint16(e.port), Options: options, Backlog: backlog, Serve: serve}, a.stdout)
			return nil
		},
	}
	e.flags(cmd, "0.0.0.0")
	cmd.Flags().IntVar(&backlog, "backlog", scenario.DefaultBacklog, "of listen()")
	cmd.Flags().StringVar(&serve, "serve", scenario.ServeGreet, "greet and close; echo until the client closes; hold and say nothing; fork a child that greets and keeps the connection")
	return cmd
}

func (a *app) client() *cobra.Command {
	var e endpoint
	c := scenario.Client{}
	cmd := &cobra.Command{
		Use:   "client",
		Short: "the article's client, on this machine",
		Long: `Client is the article's client on raw system calls: connect, read the greeting,
read the server's FIN, close. A refused call ends it with the errno as exit code.`,
		Example: `  labctl client --address 127.0.0.1
  labctl client --address ::1 --count 3
  labctl client --address 127.0.0.1 --hold   # until Ctrl-C`,
		Args: arguments(0, "only flags"),
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if c.Count < 1 {
				return fmt.Errorf("--count %d: at least one connection", c.Count)
			}
			if c.Hold && c.CloseFirst {
				return errors.New("--hold and --close-first exclude each other")
			}
			if c.Address, c.Options, err = e.parse(cmd); err != nil {
				return err
			}
			c.Port = uint16(e.port)
			a.code = agent.Visit(&c, a.stdout)
			return nil
		},
	}
	e.flags(cmd, "127.0.0.1")
	cmd.Flags().BoolVar(&c.CloseFirst, "close-first", false, "close after the greeting, before the server does")
	cmd.Flags().BoolVar(&c.Hold, "hold", false, "keep every connection open until a signal comes")
	cmd.Flags().IntVar(&c.Count, "count", 1, "how many connections, one after another (with --hold all at once)")
	return cmd
}
