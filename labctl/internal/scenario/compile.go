package scenario

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// appProgram is what scenarios call the server under test.
const appProgram = "app"

// compiler turns a decoded file into a lab, looking up every name. It tells
// every problem it can be sure of and passes over what the decoder has already
// told.
type compiler struct {
	*problems
	file     *fileForm
	settings Settings
	look     func(*yaml.Node) *yaml.Node // a node as the cell has it
	spent    *budget
	lab      Lab
	programs map[string]int  // the index in lab.Programs, by name
	sockets  map[string]int  // the index in lab.Sockets, by name; those that steps make too
	acts     map[string]bool // the programs that make the calls of steps
	unclear  map[string]bool // the programs that are not to be relied on
	// names holds where each name of a host or program was declared; nil for
	// a default host.
	names map[string]*yaml.Node
	// standins are, on joined hosts, the addresses found for those of the file.
	standins map[netip.Addr]standin
}

// compile fills c.lab. It may be relied on only if no problem was told.
func (c *compiler) compile() {
	c.names = map[string]*yaml.Node{}
	c.programs = map[string]int{}
	c.sockets = map[string]int{}
	c.acts = map[string]bool{}
	c.unclear = map[string]bool{}
	if c.file.Name != nil {
		c.lab.Name = c.file.Name.V
	}
	c.lab.Port = portOr(c.file.Port, DefaultPort)
	c.set()
	c.hosts()
	c.takeOver()
	c.compilePrograms()
	c.compileSockets()
	c.replaceApp()
	c.compileSteps()
	c.idle()
}

// set applies the port given by --set. Its other values narrow the matrix.
func (c *compiler) set() {
	text, given := c.settings.Set["port"]
	if !given {
		return
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 {
		c.add(nil, "--set port=%s: expected a whole number from 1 to 65535", text)
		return
	}
	c.lab.Port = uint16(port)
}

// declare checks a name that the user gave to something.
func (c *compiler) declare(name string, at *yaml.Node) bool {
	if !namePatternCompiled().MatchString(name) {
		c.add(at, "%s is not a name: %s", shortly(name), nameRule)
		return false
	}
	if first, taken := c.names[name]; taken {
		if first == nil {
			c.add(at, "%s is already the name of a host (the hosts are server and client if none are declared); a name stands for one thing", shortly(name))
		} else {
			c.add(at, "%s is already the name of something in line %d; a name stands for one thing", shortly(name), first.Line)
		}
		return false
	}
	c.names[name] = at
	return true
}

func (c *compiler) compilePrograms() {
	if c.file.Programs == nil {
		return
	}
	for _, e := range c.file.Programs.Entries {
		c.declare(e.Key, e.at)
		c.programs[e.Key] = len(c.lab.Programs)
		c.lab.Programs = append(c.lab.Programs, c.program(e.Key, e.Value))
	}
}

func (c *compiler) program(name string, f *programForm) Program {
	p := Program{Name: name, UID: uidOf(f.UID)}
	host := c.hostOf(f.Host, f)
	if host != nil {
		p.Host = host.Name
	}
	kinds := f.kinds()
	if len(kinds) > 1 {
		c.unclear[name] = true
		c.wrong(f, kinds[1].key, "a program is one thing: %s stands in line %d already", kinds[0].key.Value, kinds[0].key.Line)
		return p
	}
	switch {
	case f.Server != nil:
		p.Server = c.server(f.Server, host)
	case f.Client != nil:
		p.Client = c.client(f.Client)
	case f.Exec != nil:
		p.Exec = c.exec(f.Exec)
		if f.UID != nil && f.Exec.User != nil {
			c.wrong(f, f.UID.key, "the user of this program stands in line %d already; choose user or uid", f.Exec.User.key.Line)
		}
	}
	return p
}

// kinds are the places of server, client and exec, as far as they are there.
func (f *programForm) kinds() (kinds []*place) {
	if f.Server != nil {
		kinds = append(kinds, &f.Server.place)
	}
	if f.Client != nil {
		kinds = append(kinds, &f.Client.place)
	}
	if f.Exec != nil {
		kinds = append(kinds, &f.Exec.place)
	}
	return kinds
}

// at is where a problem of a whole form is told: at its key, if it has one.
func (p *place) at() *yaml.Node {
	if p.key != nil {
		return p.key
	}
	return p.node
}

// hostOf looks up the host that a form names; it may leave it out if there is
// only one. It is nil after a problem.
func (c *compiler) hostOf(name *str, owner placed) *Host {
	switch {
	case name != nil && name.bad:
		return nil
	case name != nil:
		return c.host(name.V, name.node)
	case len(c.lab.Hosts) == 1:
		return &c.lab.Hosts[0]
	case len(c.lab.Hosts) > 1 && !owner.spot().bad:
		c.wrong(owner, owner.spot().at(), "on which host? there are two; add host: %s or host: %s", c.lab.Hosts[0].Name, c.lab.Hosts[1].Name)
	}
	return nil
}

func (c *compiler) host(name string, at *yaml.Node) *Host {
	for i := range c.lab.Hosts {
		if c.lab.Hosts[i].Name == name {
			return &c.lab.Hosts[i]
		}
	}
	if len(c.lab.Hosts) > 0 {
		c.add(at, "there is no host %s%s", shortly(name), rather(name, c.hostNames()))
	}
	return nil
}

func (c *compiler) hostNames() []string {
	names := make([]string, len(c.lab.Hosts))
	for i, h := range c.lab.Hosts {
		names[i] = h.Name
	}
	return names
}

func (c *compiler) server(f *serverForm, host *Host) *Server {
	s := &Server{Address: netip.IPv4Unspecified(), Port: portOr(f.Port, c.lab.Port), Backlog: DefaultBacklog, Serve: ServeGreet}
	if f.Backlog != nil {
		s.Backlog = int(f.Backlog.V)
	}
	if f.Serve != nil {
		s.Serve = f.Serve.V
	}
	if f.Address != nil {
		s.Address = c.address(f.Address)
		if s.Address.IsValid() && host != nil && !bindable(s.Address, host) {
			c.wrong(f, f.Address.node, "%s is no address of %s, so a server there cannot bind it; expected %s",
				s.Address, host.Name, oneOf(append(addressTexts(host), "0.0.0.0", `"::"`)))
		}
	}
	s.Options = c.options(f.Options, s.Address)
	return s
}

// bindable reports whether bind() on the host finds the address: EADDRNOTAVAIL
// otherwise (ip(7)).
func bindable(a netip.Addr, h *Host) bool {
	a = a.Unmap()
	return a.IsUnspecified() || a.IsLoopback() ||
		slices.ContainsFunc(h.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
}

func addressTexts(h *Host) []string {
	texts := make([]string, len(h.Addresses))
	for i, p := range h.Addresses {
		texts[i] = p.Addr().String()
	}
	return texts
}

func (c *compiler) client(f *clientForm) *Client {
	k := &Client{Port: portOr(f.Port, c.lab.Port), Count: 1}
	if f.Address != nil {
		k.Address = c.address(f.Address)
	}
	k.Options = c.options(f.Options, k.Address)
	k.CloseFirst = f.CloseFirst != nil && f.CloseFirst.V
	k.Hold = f.Hold != nil && f.Hold.V
	if k.CloseFirst && k.Hold {
		c.wrong(f, f.Hold.key, "hold keeps the connection open and close-first closes it; choose one")
	}
	if f.Count != nil {
		k.Count = int(f.Count.V)
	}
	return k
}

// address understands an IP address or a host's name, which means its first
// IPv4 address or, if it has none, its first.
func (c *compiler) address(s *str) netip.Addr {
	if s.bad {
		return netip.Addr{}
	}
	if i := slices.IndexFunc(c.lab.Hosts, func(h Host) bool { return h.Name == s.V }); i >= 0 {
		return mainAddress(&c.lab.Hosts[i])
	}
	a, err := netip.ParseAddr(s.V)
	switch {
	case err != nil && strings.ContainsRune(s.V, '/'):
		c.wrong(s, s.node, "%s has a prefix length; here stands the address alone", shortly(s.V))
	case err != nil:
		c.wrong(s, s.node, "%s is neither an IP address nor a host%s", shortly(s.V), rather(s.V, c.hostNames()))
	case a.Zone() != "":
		c.wrong(s, s.node, "%s names an interface; the lab's hosts have addresses without one", shortly(s.V))
	case a.IsMulticast():
		c.wrong(s, s.node, "%s is a multicast address; TCP has none", s.V)
	default:
		return c.found(a, s)
	}
	return netip.Addr{}
}

func mainAddress(h *Host) netip.Addr {
	for _, p := range h.Addresses {
		if p.Addr().Is4() {
			return p.Addr()
		}
	}
	if len(h.Addresses) == 0 {
		return netip.Addr{}
	}
	return h.Addresses[0].Addr()
}

func (c *compiler) options(f *optionsForm, a netip.Addr) (o Options) {
	if f == nil {
		return o
	}
	set := func(b *boolean) *bool {
		if b == nil {
			return nil
		}
		return &b.V
	}
	o = Options{ReuseAddr: set(f.ReuseAddr), ReusePort: set(f.ReusePort), V6Only: set(f.V6Only)}
	if f.V6Only != nil && a.Is4() {
		c.wrong(f, f.V6Only.key, "v6only is an option of IPv6 sockets, and %s is an IPv4 address", a)
	}
	if f.Linger != nil {
		o.Linger = &f.Linger.V
		if *o.Linger%1e9 != 0 {
			c.wrong(f, f.Linger.node, "SO_LINGER counts whole seconds")
		}
	}
	return o
}

func (c *compiler) exec(f *execForm) *Exec {
	e := &Exec{Ready: Ready{Port: c.lab.Port}}
	if f.Argv != nil {
		for _, a := range f.Argv.Items {
			e.Argv = append(e.Argv, a.V)
		}
		if len(e.Argv) > 0 && e.Argv[0] == "" && !f.Argv.Items[0].bad {
			c.wrong(f, f.Argv.Items[0].node, "the first of argv is the program to run; it is empty")
		}
	}
	if f.Env != nil {
		for _, v := range f.Env.Entries {
			if v.Key == "" || strings.ContainsAny(v.Key, "=\x00") {
				c.wrong(f, v.at, "%s cannot be the name of an environment variable", shortly(v.Key))
			}
			e.Env = append(e.Env, v.Key+"="+v.Value.V)
		}
	}
	if f.Dir != nil {
		e.Dir = f.Dir.V
	}
	if f.User != nil {
		e.User = f.User.V
	}
	if r := f.Ready; r != nil && !r.bad {
		switch {
		case r.Port != nil && r.Line != nil:
			c.wrong(r, r.Line.key, "a program is ready by a port or by a line; choose one")
		case r.Port != nil:
			e.Ready = Ready{Port: uint16(r.Port.V)}
		case r.Line != nil:
			c.line(r.Line)
			e.Ready = Ready{Line: r.Line.V}
		default:
			c.wrong(r, r.at(), "ready needs port or line")
		}
	}
	return e
}

// line checks a text that is compared with whole output lines.
func (c *compiler) line(s *scalar) {
	if !s.bad && strings.ContainsAny(s.V, "\n\r") {
		c.wrong(s, s.node, "this text has a line end in it, so no output line can equal it; write one text a line")
	}
}

// replaceApp puts the user's own command in place of the program app.
func (c *compiler) replaceApp() {
	if len(c.settings.Command) == 0 {
		return
	}
	i, ok := c.programs[appProgram]
	if !ok {
		c.add(nil, "a command after -- takes the place of the program named %s, but this scenario has none", appProgram)
		return
	}
	app := &c.lab.Programs[i]
	port := c.lab.Port
	if app.Server != nil {
		port = app.Server.Port
	}
	*app = Program{Name: app.Name, Host: app.Host, Exec: &Exec{Argv: c.settings.Command, Ready: Ready{Port: port}}}
}

// portOr is the port that i gives, or port.
func portOr(i *integer, port uint16) uint16 {
	if i == nil || i.bad {
		return port
	}
	return uint16(i.V)
}
