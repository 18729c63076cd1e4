package runner

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/scenario"
)

// hold brings a socket into a state by real calls and real segments, and keeps it
// there by dropping, where they arrive, those that would take it on. It returns when
// the kernel's own table shows the state. What the other end does is done by a process
// of its own on the peer host, "peer of NAME".
func (l *lab) hold(s *scenario.Step) (journal.Observed, error) {
	socket := l.socket(s.Socket)
	if s.Orphan && !orphanable(s.Hold) {
		return journal.Observed{Failure: fmt.Sprintf("no socket in %s is an orphan: a closed one goes on to another state", s.Hold)}, nil
	}
	own, err := l.actor(socket)
	if err != nil {
		return journal.Observed{}, err
	}
	h := holding{lab: l, step: s, socket: socket, own: own, deadline: l.began[s.ID] + int64(s.Within)}
	for i := 1; i <= socket.Count; i++ {
		h.name = agent.Nth(socket.Name, i, socket.Count)
		err := h.bring()
		if failed := (*unheld)(nil); errors.As(err, &failed) {
			return failed.seen, nil
		}
		if err != nil {
			return journal.Observed{}, err
		}
	}
	return journal.Observed{Result: "ok", States: h.states}, nil
}

// orphanable reports whether a socket in the state may have no process.
func orphanable(state string) bool {
	switch state {
	case "FIN_WAIT1", "FIN_WAIT2", "LAST_ACK", "CLOSING", "TIME_WAIT":
		return true
	}
	return false
}

// holding is a hold under way, for one socket.
type holding struct {
	lab       *lab
	step      *scenario.Step
	socket    *scenario.Socket
	own, peer *process
	name      string // of the socket
	deadline  int64
	cookie    uint64
	local     netip.AddrPort // of the socket
	remote    netip.AddrPort // where the peer listens
	states    map[string]int // on the lab's port, in the table that shows the state
}

// unheld says why the state was not reached, as the step's result.
type unheld struct{ seen journal.Observed }

func (u *unheld) Error() string { return u.seen.Failure }

// bring takes the socket to the step's state.
func (h *holding) bring() error {
	// What the other host's TCP must not get.
	var fin func() error = func() error { return h.drop(h.step.Peer, "FIN") }
	local := netip.AddrPortFrom(h.socket.Address, h.socket.Port)
	if err := h.mine(agent.Command{Verb: scenario.VerbBind, Address: local}); err != nil {
		return err
	}
	var path []func() error
	switch h.step.Hold {
	case "BOUND":
	case "LISTEN":
		path = append(path, h.listen)
	case "SYN_SENT":
		path = append(path, h.call)
	case "SYN_RECV":
		path = append(path, h.listen, h.answer)
	case "ESTABLISHED":
		path = append(path, h.connect)
	case "FIN_WAIT1":
		path = append(path, h.connect, fin, h.finish)
	case "FIN_WAIT2":
		path = append(path, h.connect, h.finish)
	case "CLOSE_WAIT":
		path = append(path, h.connect, h.peerFinishes)
	case "LAST_ACK":
		path = append(path, h.connect, h.peerFinishes, h.seen("CLOSE_WAIT"), fin, h.finish)
	case "CLOSING":
		path = append(path, h.connect, fin, h.finish, h.seen("FIN_WAIT1"), h.peerFinishes)
	case "TIME_WAIT":
		path = append(path, h.connect, h.finish, h.seen("FIN_WAIT2"), h.peerFinishes)
	default:
		return fmt.Errorf("this labctl cannot hold a socket in %q", h.step.Hold)
	}
	for _, step := range append(path, h.seen(h.step.Hold)) {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// does has an actor make the calls of c, which must succeed.
func (h *holding) does(p *process, c agent.Command, call string) (journal.Syscall, error) {
	seen, err := h.lab.plays(p, c, h.deadline, call)
	switch {
	case err == errDeadline:
		seen.Failure = fmt.Sprintf("%s of %s did not return within %s", call, c.Socket, h.step.Within)
	case err != nil:
		seen.Failure = err.Error()
	case seen.Result == "EINPROGRESS" && c.Nonblock:
		seen.Failure = ""
	}
	if seen.Failure != "" {
		return journal.Syscall{}, &unheld{seen}
	}
	if h.lab.ctx.Err() != nil {
		return journal.Syscall{}, &unheld{} // the step's verdict says so
	}
	h.lab.mu.Lock()
	defer h.lab.mu.Unlock()
	return p.part.calls[len(p.part.calls)-1], nil
}

// mine is a call on the socket itself.
func (h *holding) mine(c agent.Command) error {
	c.Socket, c.Count = h.name, 1
	c.Kind, c.Set = h.socket.Kind, h.lab.onHost(h.socket.Options, h.socket.Host)
	last, err := h.does(h.own, c, callOf[c.Verb])
	if last.Socket != nil && last.Socket.Cookie != 0 {
		h.cookie = last.Socket.Cookie
		if last.Socket.Local.IsValid() {
			h.local = last.Socket.Local
		}
	}
	return err
}

func (h *holding) listen() error {
	return h.mine(agent.Command{Verb: scenario.VerbListen, Backlog: 16})
}

// call calls a peer that never hears of it: SYN_SENT.
func (h *holding) call() error {
	at, err := h.addressOf(h.step.Peer)
	if err != nil {
		return err
	}
	h.remote = netip.AddrPortFrom(at, h.lab.plan.Port)
	if err := h.drop(h.step.Peer, "SYN"); err != nil {
		return err
	}
	return h.mine(agent.Command{Verb: scenario.VerbConnect, Address: h.remote, Nonblock: true})
}

// answer has the peer call, and loses the end of the handshake: SYN_RECV.
func (h *holding) answer() error {
	if err := h.meet(); err != nil {
		return err
	}
	at := h.local.Addr()
	if at.IsUnspecified() {
		var err error
		if at, err = h.addressOf(h.socket.Host); err != nil {
			return err
		}
	}
	at = at.Unmap()
	if err := h.drop(h.socket.Host, "ACK"); err != nil {
		return err
	}
	_, err := h.does(h.peer, agent.Command{Verb: scenario.VerbConnect, Socket: h.peer.spec.Name, Kind: h.kind(at),
		Address: netip.AddrPortFrom(at, h.local.Port()), Nonblock: true}, "connect")
	return err
}

// connect joins the socket to one of the peer's.
func (h *holding) connect() error {
	at, err := h.addressOf(h.step.Peer)
	if err != nil {
		return err
	}
	if err := h.meet(); err != nil {
		return err
	}
	// On a port that the kernel chooses, so that the peer has none on the lab's.
	listener := h.peer.spec.Name + ", listener"
	bound, err := h.does(h.peer, agent.Command{Verb: scenario.VerbBind, Socket: listener, Kind: h.kind(at), Address: netip.AddrPortFrom(at.Unmap(), 0)}, "bind")
	if err != nil {
		return err
	}
	if _, err := h.does(h.peer, agent.Command{Verb: scenario.VerbListen, Socket: listener, Backlog: 1}, "listen"); err != nil {
		return err
	}
	h.remote = netip.AddrPortFrom(at, bound.Socket.Local.Port())
	if err := h.mine(agent.Command{Verb: scenario.VerbConnect, Address: h.remote}); err != nil {
		return err
	}
	if _, err := h.does(h.peer, agent.Command{Verb: scenario.VerbAccept, Socket: listener, As: h.peerSocket()}, "accept"); err != nil {
		return err
	}
	_, err = h.does(h.peer, agent.Command{Verb: scenario.VerbClose, Socket: listener}, "close")
	return err
}

// finish sends the socket's FIN.
func (h *holding) finish() error {
	// A TIME_WAIT is no process's. A descriptor that stayed open would hold the port
	// too: the socket that a program bound keeps its port until it is closed.
	if h.step.Orphan || h.step.Hold == "TIME_WAIT" {
		return h.mine(agent.Command{Verb: scenario.VerbClose})
	}
	return h.mine(agent.Command{Verb: scenario.VerbShutdown, How: "SHUT_WR"})
}

// peerFinishes sends the peer's FIN.
func (h *holding) peerFinishes() error {
	_, err := h.does(h.peer, agent.Command{Verb: scenario.VerbShutdown, Socket: h.peerSocket(), How: "SHUT_WR"}, "shutdown")
	return err
}

// meet starts the peer's process.
func (h *holding) meet() (err error) {
	if h.peer == nil {
		h.peer, err = h.lab.performer("peer of "+h.socket.Name, h.step.Peer, nil)
	}
	return err
}

// peerSocket is the name of the connection's other end.
func (h *holding) peerSocket() string { return "peer of " + h.name }

// addressOf is an address of a host that the socket can speak with.
func (h *holding) addressOf(host string) (netip.Addr, error) {
	mine := h.socket.Address
	for _, p := range h.lab.network.Host(host).Addresses() {
		switch at := p.Addr(); {
		case mine.Is4() && at.Is4():
			return at, nil
		case mine.Is4In6() && at.Is4():
			return netip.AddrFrom16(at.As16()), nil
		case mine.Is6() && !mine.Is4In6() && at.Is6():
			return at, nil
		}
	}
	return netip.Addr{}, &unheld{journal.Observed{Failure: fmt.Sprintf("host %s has no address that a socket on %s can speak with", host, mine)}}
}

// kind is that of a peer's socket for the address.
func (h *holding) kind(at netip.Addr) string {
	if at.Unmap().Is4() {
		return scenario.TCP4
	}
	return scenario.TCP6
}

// drop has segments of this connection dropped where they reach a host.
func (h *holding) drop(host, segments string) error {
	d := netlab.Drop{Segments: segments}
	if host == h.socket.Host {
		d.To = h.local.Port()
	} else {
		d.From, d.To = h.local.Port(), h.remote.Port()
	}
	return h.lab.drops(host, d)
}

// seen returns when the kernel's table shows the socket in the state.
func (h *holding) seen(state string) func() error {
	return func() error {
		l, host := h.lab, h.socket.Host
		var pace backoff
		var tableErr error
		last := "not in the kernel's table"
		err := l.await(l.ctx, h.deadline, func() (bool, time.Duration) {
			var t journal.Sockets
			if t, tableErr = l.readTable(host, 0); tableErr != nil {
				return true, 0
			}
			rows := t.Rows
			i := slices.IndexFunc(rows, func(r journal.Socket) bool {
				if state == "SYN_RECV" { // a request socket, which has a cookie of its own
					return r.State == state && r.Local.Port() == h.local.Port()
				}
				return r.Cookie == h.cookie
			})
			if i < 0 || rows[i].State != state {
				if i >= 0 {
					last = rows[i].State
				}
				return false, pace.next(usual)
			}
			if state == h.step.Hold {
				h.states, _ = l.tally(rows)
				t.Reason = "step"
				l.emitTable(host, &t, nil)
			}
			return true, 0
		})
		switch {
		case tableErr != nil:
			return tableErr
		case err == errDeadline:
			return &unheld{journal.Observed{Failure: fmt.Sprintf("%s was not in %s within %s: %s", h.name, state, h.step.Within, last)}}
		case err != nil:
			return &unheld{} // cancelled
		}
		return nil
	}
}

// drop throws segments away that reach a host.
func (l *lab) drop(s *scenario.Step) (journal.Observed, error) {
	err := l.drops(s.Host, netlab.Drop{Segments: s.Segments, Count: uint32(s.Count)})
	return journal.Observed{Result: "ok"}, err
}

func (l *lab) drops(host string, d netlab.Drop) error {
	if err := l.network.Host(host).Drop(d); err != nil {
		return err
	}
	l.record(journal.Event{Kind: journal.KindHost, Host: host, Change: &journal.Change{What: "drop", Detail: d.String()}})
	return nil
}

// destroy ends sockets from outside, as ss -K does.
func (l *lab) destroy(s *scenario.Step) (journal.Observed, error) {
	socket := l.socket(s.Socket)
	l.mu.Lock()
	defer l.mu.Unlock()
	tally := map[string]int{}
	seen := journal.Observed{}
	for i := 1; i <= max(socket.Count, 1); i++ {
		name := agent.Nth(socket.Name, i, socket.Count)
		result := "ENOENT"
		err := error(nil)
		rows, tableErr := l.diag[socket.Host].Table(0)
		if tableErr != nil {
			return seen, fmt.Errorf("read the socket table of host %s: %w", socket.Host, tableErr)
		}
		at := slices.IndexFunc(rows, func(r journal.Socket) bool { return r.Cookie == l.cookies[name] })
		if l.cookies[name] != 0 && at >= 0 {
			if err = l.diag[socket.Host].Destroy(rows[at]); err == nil {
				result = "ok"
			} else {
				result = errnoName(err)
			}
			l.emit(journal.Event{Kind: journal.KindHost, Host: socket.Host, Change: &journal.Change{What: "destroy",
				Detail: fmt.Sprintf("%s, %s %s: %s", name, rows[at].State, ends(rows[at]), result)}})
		} else {
			err = fmt.Errorf("%s is not in the kernel's table", name)
		}
		tally[result]++
		if seen.Result == "" || seen.Result == "ok" {
			seen.Result = result
			if err != nil {
				seen.Failure = fmt.Sprintf("destroy %s on %s: %v", name, socket.Host, err)
			}
		}
	}
	if socket.Count > 1 {
		seen.Results = tally
	}
	return seen, nil
}

func ends(r journal.Socket) string {
	if r.Remote.IsValid() {
		return r.Local.String() + " -> " + r.Remote.String()
	}
	return r.Local.String()
}
