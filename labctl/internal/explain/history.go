package explain

import (
	"maps"
	"net/netip"
	"slices"

	"restartlab/labctl/internal/journal"
)

// History remembers of a run what explanations rest on. Its zero value is
// ready. It must be fed every event, in the journal's order, and costs the
// same little for each; it may not be used from several goroutines at once.
type History struct {
	labs     map[string]*lab
	refused  map[int]journal.Event // binds and listens that failed
	answered map[int]Explanation
}

// lab is one isolated world: process numbers and addresses of two labs have
// nothing to do with each other.
type lab struct {
	hosts   map[string]*host
	procs   map[int]*process
	sockets map[socketKey]*life
	pairs   map[pair]*life // the latest socket seen with these two ends
	stepT   int64          // when the step under way began
}

type host struct {
	up      int // event that told the addresses
	addrs   []netip.Prefix
	sysctls map[string]sysctl
	link    string // the last change of its link, "up" or "down"
	linkN   int
	// listeners are the sockets that listen, by port: what a connection
	// that no program has accepted yet was born from.
	listeners map[uint16][]*life
}

type sysctl struct {
	value string
	n     int
}

type process struct {
	pid, parent int
	program     string
	host        string
	uid         *uint32
	startN      int
	// active is when its last recorded call returned, signalled when the step
	// that sent it a signal began: it was alive at both.
	active, signalled int64
	exitN             int
	files             map[int]*life // its open sockets by descriptor
}

// socketKey holds the host since kernels before 5.10 count cookies from 1 in
// every network namespace.
type socketKey struct {
	host   string
	cookie uint64
}

type pair struct {
	host          string
	local, remote netip.AddrPort
}

// life is what events told of one socket.
type life struct {
	key           socketKey
	program       string
	pid, bornN    int // the process and call that made it
	local, remote netip.AddrPort
	reuseAddr     option
	reusePort     option
	v6only        option
	device        bool // SO_BINDTODEVICE was set
	boundN        int
	listenN       int
	holders       map[int]held // by process
	finRead       *moment      // it read the peer's FIN
	shut          *moment      // shutdown for writing
	closed        *moment      // the last descriptor went
}

// held is how many descriptors a process has for a socket, and the first of its
// calls that told.
type held struct{ files, n int }

// option is an option of a socket as the kernel last told it.
type option struct {
	value *bool
	n     int  // the event that told
	moved bool // it was not the same throughout since listen()
}

// moment is when something happened: not before from and not after to, both in
// ns of the run.
type moment struct {
	from, to int64
	n        int
	exit     bool // it happened as its process ended
}

// Add takes the next event.
func (h *History) Add(e journal.Event) {
	switch {
	case e.StepRun != nil && e.StepRun.Phase == journal.PhaseBegin:
		h.lab(e).stepT = e.T
	case e.Change != nil:
		h.lab(e).change(e)
	case e.Process != nil:
		h.lab(e).process(e)
	case e.Syscall != nil:
		h.lab(e).syscall(e)
		if e.Syscall.Failed() && (e.Syscall.Name == "bind" || e.Syscall.Name == "listen") {
			if h.refused == nil {
				h.refused = map[int]journal.Event{}
			}
			h.refused[e.N] = e
		}
	case e.Sockets != nil && e.Sockets.After != 0:
		if call, ok := h.refused[e.Sockets.After]; ok {
			if h.answered == nil {
				h.answered = map[int]Explanation{}
			}
			// Now, not when asked: later events must not change what was
			// known at the time.
			h.answered[call.N] = h.explain(call, e)
			delete(h.refused, call.N)
		}
	}
}

// Refusal explains the bind or listen recorded as event n. It is false until
// the table read after it was added, and for calls that did not fail.
func (h *History) Refusal(n int) (Explanation, bool) {
	x, ok := h.answered[n]
	return x, ok
}

func (h *History) lab(e journal.Event) *lab {
	l := h.labs[e.Lab]
	if l == nil {
		l = &lab{hosts: map[string]*host{}, procs: map[int]*process{},
			sockets: map[socketKey]*life{}, pairs: map[pair]*life{}}
		if h.labs == nil {
			h.labs = map[string]*lab{}
		}
		h.labs[e.Lab] = l
	}
	return l
}

func (l *lab) host(name string) *host {
	h := l.hosts[name]
	if h == nil {
		h = &host{sysctls: map[string]sysctl{}, listeners: map[uint16][]*life{}}
		l.hosts[name] = h
	}
	return h
}

func (l *lab) change(e journal.Event) {
	h := l.host(e.Host)
	if e.Change.What == "up" {
		h.up, h.addrs = e.N, e.Change.Addresses
	}
	if e.Change.State != "" {
		h.link, h.linkN = e.Change.State, e.N
	}
	for name, value := range e.Change.Sysctls {
		h.sysctls[name] = sysctl{value, e.N}
	}
}

func (l *lab) process(e journal.Event) {
	p := l.proc(e)
	switch e.Process.Phase {
	case journal.PhaseStart:
		uid := uint32(e.Process.UID)
		p.startN, p.parent, p.uid = e.N, e.Process.Parent, &uid
	case journal.PhaseSignal:
		p.signalled = l.stepT
	case journal.PhaseExit:
		p.exitN = e.N
		from := p.active
		if e.Process.Signal != "" {
			from = max(from, p.signalled)
		}
		for _, s := range p.files {
			l.drop(s, p, moment{from: from, to: e.T, n: e.N, exit: true})
		}
		p.files = map[int]*life{}
	}
}

func (l *lab) proc(e journal.Event) *process {
	p := l.procs[e.PID]
	if p == nil || p.exitN != 0 && e.Process != nil && e.Process.Phase == journal.PhaseStart {
		p = &process{pid: e.PID, program: e.Program, host: e.Host, files: map[int]*life{}}
		l.procs[e.PID] = p
	}
	return p
}

func (l *lab) syscall(e journal.Event) {
	p, c := l.proc(e), e.Syscall
	l.host(e.Host)
	p.active = max(p.active, e.T)
	if c.Name == "close" {
		if s := l.learn(e, p); s != nil {
			delete(p.files, c.FD)
			l.drop(s, p, moment{from: c.Start, to: e.T, n: e.N})
		}
		return
	}
	s := l.learn(e, p)
	if s == nil || c.Failed() {
		return
	}
	switch c.Name {
	case "bind":
		s.boundN = e.N
	case "listen":
		s.listenN = e.N
		s.reuseAddr.moved, s.reusePort.moved = false, false
		h := l.host(e.Host)
		port := s.local.Port()
		if !slices.Contains(h.listeners[port], s) {
			h.listeners[port] = append(h.listeners[port], s)
		}
	case "read":
		if c.Result == 0 && s.finRead == nil && (c.Args.Bytes == nil || *c.Args.Bytes > 0) {
			s.finRead = &moment{from: c.Start, to: e.T, n: e.N}
		}
	case "shutdown":
		if s.shut == nil && c.Args.How != "SHUT_RD" {
			s.shut = &moment{from: c.Start, to: e.T, n: e.N}
		}
	case "setsockopt":
		if c.Args.Option == "SO_BINDTODEVICE" {
			s.device = true
		}
	}
}

// learn takes over what the recorder read of the call's socket. It is nil for
// a call without one.
func (l *lab) learn(e journal.Event, p *process) *life {
	facts, fd := e.Syscall.Socket, e.Syscall.FD
	if facts == nil || facts.Cookie == 0 {
		return p.files[fd]
	}
	key := socketKey{e.Host, facts.Cookie}
	s := l.sockets[key]
	if s == nil {
		s = &life{key: key, program: e.Program, pid: e.PID, bornN: e.N, holders: map[int]held{}}
		l.sockets[key] = s
	}
	if old := p.files[fd]; old != s && fd >= 0 {
		if old != nil { // closed at some time: its descriptor was given out anew
			l.drop(old, p, moment{to: e.T, n: e.N})
		}
		p.files[fd] = s
		has := s.holders[p.pid]
		if has.files++; has.n == 0 {
			has.n = e.N
		}
		s.holders[p.pid] = has
		s.closed = nil // if it was thought so: an inherited descriptor kept it open
	}
	if facts.Local.IsValid() {
		s.local = facts.Local
	}
	if facts.Remote.IsValid() && facts.Remote.Port() != 0 {
		s.remote = facts.Remote
		l.pairs[pair{e.Host, unmap(s.local), unmap(s.remote)}] = s
	}
	s.reuseAddr.tell(facts.ReuseAddr, e.N)
	s.reusePort.tell(facts.ReusePort, e.N)
	s.v6only.tell(facts.V6Only, e.N)
	return s
}

func (o *option) tell(value *bool, n int) {
	if value == nil {
		return
	}
	if o.value != nil && *o.value != *value {
		o.moved = true
	}
	if o.value == nil || *o.value != *value {
		o.n = n
	}
	o.value = value
}

// drop notes that p has one descriptor less for s. Only when the last one goes
// does the kernel close the socket.
func (l *lab) drop(s *life, p *process, when moment) {
	has := s.holders[p.pid]
	has.files--
	s.holders[p.pid] = has
	if has.files <= 0 {
		delete(s.holders, p.pid)
	}
	if len(s.holders) > 0 {
		return
	}
	s.closed = &when
	h := l.host(s.key.host)
	port := s.local.Port()
	h.listeners[port] = slices.DeleteFunc(h.listeners[port], func(o *life) bool { return o == s })
}

// finSent is when the socket's FIN was due, nil if it was not.
func (s *life) finSent() *moment {
	if s.shut != nil {
		return s.shut
	}
	return s.closed
}

// peer finds the other end of a connection of the host name: on the same host
// or, two hosts having no address in common but loopback's, on another.
func (l *lab) peer(name string, local, remote netip.AddrPort) *life {
	names := append([]string{name}, slices.Sorted(maps.Keys(l.hosts))...)
	for _, n := range names {
		if s := l.pairs[pair{n, unmap(remote), unmap(local)}]; s != nil {
			return s
		}
	}
	return nil
}

// unmap makes the two ways to write an IPv4 address of an IPv6 socket one.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// opened is the lowest process that has s open, 0 if none is known to.
func (s *life) opened() int {
	pid := 0
	for p := range s.holders {
		if pid == 0 || p < pid {
			pid = p
		}
	}
	return pid
}
