package scenario

const (
	defaultHow      = "SHUT_RDWR"
	defaultSegments = "any"
)

// call fills in what a verb does with a socket, and says what can be seen of it.
func (u *unroller) call(f *stepForm, s *Step) sight {
	switch {
	case f.Bind != nil:
		k := u.socketOf(f.Bind.Socket, s)
		s.Address, s.Port = k.Address, k.Port
		if f.Bind.Address != nil {
			s.Address = u.addressFor(f.Bind.Address, k.Kind)
		}
		s.Port = portOr(f.Bind.Port, s.Port)
	case f.Listen != nil:
		u.socketOf(f.Listen.Socket, s)
		s.Backlog = intOr(f.Listen.Backlog, DefaultBacklog)
	case f.Connect != nil:
		k := u.socketOf(f.Connect.Socket, s)
		if f.Connect.Address != nil {
			s.Address = u.addressFor(f.Connect.Address, k.Kind)
		}
		s.Port = portOr(f.Connect.Port, u.lab.Port)
		s.Nonblock = isSet(f.Connect.Nonblock)
	case f.Accept != nil:
		k := u.socketOf(f.Accept.Socket, s)
		s.Count = intOr(f.Accept.Count, 1)
		s.Nonblock = isSet(f.Accept.Nonblock)
		s.As = f.Accept.As.name()
		if k.Count > 1 {
			u.wrong(f, f.Accept.Socket.node, "%s stands for %d sockets, and accept takes one listener; give each a name", k.Name, k.Count)
		}
	case f.Send != nil:
		u.socketOf(f.Send.Socket, s)
		if f.Send.Text != nil {
			if s.Text = f.Send.Text.V; s.Text == "" && !f.Send.Text.bad {
				u.wrong(f, f.Send.Text.node, "the text is empty, so nothing would be sent")
			}
		}
	case f.Recv != nil:
		u.socketOf(f.Recv.Socket, s)
		s.Nonblock = isSet(f.Recv.Nonblock)
	case f.Shutdown != nil:
		u.socketOf(f.Shutdown.Socket, s)
		s.How = defaultHow
		if f.Shutdown.How != nil {
			s.How = f.Shutdown.How.V
		}
	case f.Close != nil:
		u.socketOf(f.Close.Socket, s)
	case f.Setsockopt != nil:
		k := u.socketOf(f.Setsockopt.Socket, s)
		o := f.Setsockopt.Options
		if s.Options = u.sockopts(o, k.Kind); o != nil && !o.bad && len(s.Options) == 0 {
			u.wrong(o, o.at(), "options is empty; it needs an option, such as reuseaddr: true")
		}
		u.size += valueSize * len(s.Options)
	case f.Inherit != nil:
		u.give(f, s, f.Inherit.Socket, f.Inherit.To, f.Inherit.As)
	case f.Pass != nil:
		u.give(f, s, f.Pass.Socket, f.Pass.To, f.Pass.As)
	case f.Destroy != nil:
		u.socketOf(f.Destroy.Socket, s)
	case f.Hold != nil:
		u.hold(f.Hold, s)
		return sight{s.Verb, ofTime, " (the state is confirmed from the kernel's table)"}
	case f.Drop != nil:
		d := f.Drop
		s.Host = u.hostName(d.Host, d)
		s.Segments = defaultSegments
		if d.Segments != nil {
			s.Segments = d.Segments.V
		}
		s.Count = intOr(d.Count, 0)
		return sight{s.Verb, ofTime, ""}
	}
	return sight{s.Verb, expectable(s.Verb), ""}
}

// give fills in an inherit or a pass.
func (u *unroller) give(f *stepForm, s *Step, socket, to *str, as *name) {
	k := u.socketOf(socket, s)
	s.As = as.name()
	p := u.actor(to, "it would not know what to do with the descriptor")
	if p == nil {
		return
	}
	s.To = p.Name
	switch {
	case k.Host != "" && p.Host != "" && k.Host != p.Host:
		u.wrong(f, to.node, "%s is on %s and the socket on %s; a descriptor stays on its host", p.Name, p.Host, k.Host)
	case p.Name == k.maker():
		u.wrong(f, to.node, "%s has the socket already", p.Name)
	}
}

func (u *unroller) hold(f *holdForm, s *Step) {
	k := u.socketOf(f.Socket, s)
	if f.State == nil || f.State.bad || f.bad {
		return
	}
	s.Hold = f.State.V
	s.Orphan = isSet(f.Orphan)
	if isUDP(k.Kind) {
		u.wrong(f, f.Socket.node, "%s is %s; only TCP sockets have these states", k.Name, k.Kind)
	}
	switch s.Hold {
	case "BOUND", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "CLOSE_WAIT":
		if s.Orphan {
			u.wrong(f, f.Orphan.key, "no socket is in %s that no process holds: closing it makes it leave the state", s.Hold)
		}
	}
	switch {
	case f.Peer != nil:
		s.Peer = u.hostName(f.Peer, f)
		if s.Peer != "" && s.Peer == k.Host {
			u.wrong(f, f.Peer.node, "%s is the host of the socket itself; its peer is on the other one", s.Peer)
		}
	case s.Hold != "BOUND" && s.Hold != "LISTEN" && k.Host != "":
		for _, h := range u.lab.Hosts {
			if h.Name != k.Host {
				s.Peer = h.Name
			}
		}
		if s.Peer == "" {
			u.wrong(f, f.State.node, "%s has a peer on another host, and there is no other", s.Hold)
		}
	}
}

// socketOf looks up the socket that a step acts on. It is never nil: after a
// problem it is one of which nothing is known.
func (u *unroller) socketOf(name *str, s *Step) *Socket {
	unknown := &Socket{}
	if name == nil || name.bad {
		return unknown
	}
	if k := u.socketNamed(name.V); k != nil {
		s.Socket = k.Name
		return k
	}
	at, later := u.as[name.V]
	switch {
	case later && at.Line > s.Line:
		u.wrong(name, name.node, "%s is made in line %d, after this step", name.V, at.Line)
	case later:
		u.wrong(name, name.node, "%s is made in line %d, by a step that is not played, or that is expected to fail", name.V, at.Line)
	case u.planned(name.V) != nil:
		u.wrong(name, name.node, "%s is a program; a call is made on a socket", name.V)
	case len(u.sockets) == 0:
		u.wrong(name, name.node, "there is no socket %s; sockets declares none", shortly(name.V))
	default:
		u.wrong(name, name.node, "there is no socket %s%s", shortly(name.V), rather(name.V, sorted(u.sockets)))
	}
	return unknown
}

// madeNames collects where steps give names to sockets, the steps that are not
// played too.
func (u *unroller) madeNames(l *list[stepForm]) {
	if l == nil {
		return
	}
	for _, f := range l.Items {
		if as := f.as(); as != nil && !as.bad {
			u.as[as.V] = as.node
		}
		if f.Repeat != nil {
			u.madeNames(f.Repeat.Steps)
		}
	}
}

// as is the name that the step gives to what it makes, nil if it makes nothing.
func (f *stepForm) as() *name {
	switch {
	case f.Accept != nil:
		return f.Accept.As
	case f.Inherit != nil:
		return f.Inherit.As
	case f.Pass != nil:
		return f.Pass.As
	}
	return nil
}

// make notes the sockets that a step makes, a repeat's in each round.
func (u *unroller) make(f *stepForm, s *Step) {
	as := f.as()
	from := u.socketNamed(s.Socket)
	if as == nil || as.bad || from == nil {
		return
	}
	made := Socket{Name: as.V, Made: true, Program: s.To, Host: from.Host, Count: from.Count}
	if s.Verb == VerbAccept {
		made.Program, made.Count = from.maker(), s.Count
	}
	if at, again := u.names[as.V]; again && at == as.node {
		if u.standing[as.V].stage != closed {
			u.wrong(as, as.node, "%s is still open from the round before; close it first", as.V)
		}
		return
	}
	if u.declare(as.V, as.node) {
		u.sockets[as.V] = len(u.lab.Sockets)
		u.lab.Sockets = append(u.lab.Sockets, made)
	}
}

func (n *name) name() string {
	if n == nil {
		return ""
	}
	return n.V
}

func isSet(b *boolean) bool { return b != nil && b.V }

func intOr(i *integer, otherwise int) int {
	if i == nil || i.bad {
		return otherwise
	}
	return int(i.V)
}
