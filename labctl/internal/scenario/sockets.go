package scenario

import (
	"net/netip"
	"slices"
)

func (c *compiler) compileSockets() {
	if c.file.Sockets == nil {
		return
	}
	for _, e := range c.file.Sockets.Entries {
		c.declare(e.Key, e.at)
		c.sockets[e.Key] = len(c.lab.Sockets)
		c.lab.Sockets = append(c.lab.Sockets, c.socket(e.Key, e.Value))
	}
}

func (c *compiler) socket(name string, f *socketForm) Socket {
	s := Socket{Name: name, Kind: TCP4, Port: portOr(f.Port, c.lab.Port), Count: 1, UID: uidOf(f.UID)}
	if f.Program != nil {
		for _, other := range []*place{placeOf(f.Host), placeOf(f.UID)} {
			if other != nil {
				c.wrong(f, other.key, "the socket is one of the program in line %d, which has its own %s", f.Program.key.Line, other.key.Value)
			}
		}
		if p := c.actor(f.Program, "its sockets are its own; leave program out to get a process for this one"); p != nil {
			s.Program, s.Host = p.Name, p.Host
		}
	} else if h := c.hostOf(f.Host, f); h != nil {
		s.Host = h.Name
	}
	s.Kind = c.kind(f)
	s.Address = anyAddress(s.Kind)
	if f.Address != nil {
		if s.Address = c.addressFor(f.Address, s.Kind); s.Address.IsValid() && s.Address.Is4() != is4(s.Kind) {
			c.wrong(f, f.Address.node, "%s is no address of a %s socket%s", s.Address, s.Kind, mapped(s.Address))
		}
	}
	if f.Count != nil {
		s.Count = int(f.Count.V)
	}
	s.Options = c.sockopts(f.Options, s.Kind)
	return s
}

// kind is the socket's kind: as written, or TCP of its address's family.
func (c *compiler) kind(f *socketForm) string {
	if f.Kind != nil && !f.Kind.bad {
		return f.Kind.V
	}
	if f.Address != nil && !f.Address.bad {
		if a := c.address(f.Address); a.Is6() {
			return TCP6
		}
	}
	return TCP4
}

func is4(kind string) bool { return kind == TCP4 || kind == UDP4 }

func isUDP(kind string) bool { return kind == UDP4 || kind == UDP6 }

func anyAddress(kind string) netip.Addr {
	if is4(kind) {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// mapped says how an IPv6 socket names an IPv4 address.
func mapped(a netip.Addr) string {
	if a.Is4() {
		return "; IPv6 sockets know it as " + netip.AddrFrom16(a.As16()).String()
	}
	return ""
}

// addressFor understands an address of a socket's own family: a host's name
// means its first one of that family.
func (c *compiler) addressFor(s *str, kind string) netip.Addr {
	i := slices.IndexFunc(c.lab.Hosts, func(h Host) bool { return h.Name == s.V })
	if s.bad || i < 0 || is4(kind) {
		return c.address(s)
	}
	for _, p := range c.lab.Hosts[i].Addresses {
		if p.Addr().Is6() {
			return p.Addr()
		}
	}
	return c.address(s)
}

// actor looks up a program that makes the calls of steps. Of one that does not,
// why says what that means here.
func (c *compiler) actor(name *str, why string) *Program {
	if name == nil || name.bad || c.unclear[name.V] {
		return nil
	}
	p := c.planned(name.V)
	switch {
	case p == nil && c.socketNamed(name.V) != nil:
		c.wrong(name, name.node, "%s is a socket; a program is needed here", name.V)
	case p == nil && len(c.programs) == 0:
		c.wrong(name, name.node, "there is no program %s; programs declares none", shortly(name.V))
	case p == nil:
		c.wrong(name, name.node, "there is no program %s%s", shortly(name.V), rather(name.V, c.programNames()))
	case !p.isActor():
		c.wrong(name, name.node, "%s is a %s, which makes calls of its own: %s", name.V, p.is(), why)
	default:
		c.acts[name.V] = true
		return p
	}
	return nil
}

// isActor reports whether the program makes the calls of steps.
func (p *Program) isActor() bool { return p.Server == nil && p.Client == nil && p.Exec == nil }

// is says what the program is.
func (p *Program) is() string {
	switch {
	case p.Server != nil:
		return "server"
	case p.Client != nil:
		return "client"
	}
	return "program that is run"
}

// idle tells of the programs that do nothing at all.
func (c *compiler) idle() {
	if c.file.Programs == nil {
		return
	}
	for _, e := range c.file.Programs.Entries {
		if f := e.Value; len(f.kinds()) == 0 && !f.bad && !c.acts[e.Key] {
			c.wrong(f, f.at(), "program %s does nothing: it needs server, client or exec, or a socket that names it", e.Key)
		}
	}
}

func (c *compiler) socketNamed(name string) *Socket {
	if i, ok := c.sockets[name]; ok {
		return &c.lab.Sockets[i]
	}
	return nil
}

// maker is the process that has the socket: its program, or one of its own.
func (s *Socket) maker() string {
	if s.Program != "" {
		return s.Program
	}
	return s.Name
}

// uidOf is a user's number, nil if the file says nothing.
func uidOf(i *integer) *uint32 {
	if i == nil || i.bad {
		return nil
	}
	uid := uint32(i.V)
	return &uid
}

// placeOf is the place of a value that may be nil.
func placeOf[T any, P interface {
	*T
	placed
}](v P) *place {
	if v == nil {
		return nil
	}
	return v.spot()
}
