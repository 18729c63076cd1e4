package explain

import (
	"slices"

	"restartlab/labctl/internal/journal"
)

// Holders sorts out of a socket table, read right after the bind or listen of
// the event refused, the sockets that the rule says kept it from its port.
// The refused socket itself, other ports, addresses that do not overlap and
// sockets excused by options known to be set are not among them; an unknown
// option excuses nothing. A bind to port 0 has no single port: none hold it.
func (h *History) Holders(refused journal.Event, rows []journal.Socket) []Holder {
	if refused.Syscall == nil {
		return nil
	}
	l := h.lab(refused)
	mine, port := l.newSocket(refused, rows)
	if port == 0 || !mine.addr.IsValid() {
		return nil
	}
	var cookie uint64
	if s := refused.Syscall.Socket; s != nil {
		cookie = s.Cookie
	}
	var holders []Holder
	for _, row := range rows {
		if row.Local.Port() != port || cookie != 0 && row.Cookie == cookie || !ownsPort(row) {
			continue
		}
		holder := l.holder(refused.Host, row)
		if conflicts(mine, holder.socket()) {
			holders = append(holders, holder)
		}
	}
	return holders
}

// ownsPort reports whether a row can keep a port at all. A handshake under way
// is a request socket, which owns none (it enters the bind table when it
// completes); SYN_RECV with an inode is the rare simultaneous open.
func ownsPort(row journal.Socket) bool { return row.State != "SYN_RECV" || row.Inode != 0 }

// newSocket is the refused socket as the rule sees it, and its port.
func (l *lab) newSocket(e journal.Event, rows []journal.Socket) (socket, uint16) {
	s := l.find(e)
	at := e.Syscall.Args.Address
	if e.Syscall.Name == "listen" || !at.IsValid() {
		if s != nil && s.local.IsValid() {
			at = s.local
		}
	}
	mine := socket{addr: at.Addr()}
	if facts := e.Syscall.Socket; facts != nil {
		mine.reuseAddr, mine.reusePort, mine.v6only = facts.ReuseAddr, facts.ReusePort, facts.V6Only
		for _, row := range rows {
			if facts.Cookie != 0 && row.Cookie == facts.Cookie {
				mine.device = row.Interface
			}
		}
	}
	if p := l.procs[e.PID]; p != nil {
		mine.uid = p.uid
	}
	return mine, at.Port()
}

// find is what is known of the socket that a call was made on, or nil.
func (l *lab) find(e journal.Event) *life {
	if f := e.Syscall.Socket; f != nil && f.Cookie != 0 {
		return l.sockets[socketKey{e.Host, f.Cookie}]
	}
	if p := l.procs[e.PID]; p != nil {
		return p.files[e.Syscall.FD]
	}
	return nil
}

func (h *Holder) socket() socket {
	uid := h.Socket.UID
	return socket{addr: h.Socket.Local.Addr(), v6only: h.V6Only, reuseAddr: h.ReuseAddr, reusePort: h.ReusePort,
		uid: &uid, device: h.Socket.Interface, state: h.Socket.State}
}

// holder joins a row of a table with what events told of that socket.
func (l *lab) holder(on string, row journal.Socket) Holder {
	h := Holder{Socket: row, V6Only: row.V6Only}
	s := l.sockets[socketKey{on, row.Cookie}]
	if row.Cookie == 0 {
		s = nil
	}
	if s != nil {
		h.ReuseAddr, h.ReusePort = s.reuseAddr.value, s.reusePort.value
		h.Facts = events(s.reuseAddr.n, s.reusePort.n)
		if h.V6Only == nil {
			h.V6Only = s.v6only.value
		}
		h.Program, h.PID, h.Owner = s.program, s.opened(), events(s.bornN)
		if h.PID != 0 && h.PID != s.pid {
			h.Parent = s.pid
		}
		if p := l.procs[h.PID]; h.PID != 0 && h.Parent != 0 && p != nil {
			h.Owner = events(s.bornN, p.startN, s.holders[h.PID].n, l.procs[s.pid].exitN)
		}
	} else {
		l.inherit(on, row, &h)
	}
	if row.ReuseAddr != nil && row.ReusePort != nil {
		h.ReuseAddr, h.ReusePort, h.Kernel, h.Facts = row.ReuseAddr, row.ReusePort, true, nil
	}
	h.First, h.Closing = l.closedFirst(on, row, s)
	return h
}

// inherit tells of a connection that no program has accepted yet what its
// listener tells: it copied the options when its handshake was complete.
func (l *lab) inherit(on string, row journal.Socket, h *Holder) {
	if row.Inode != 0 || row.State != "ESTABLISHED" && row.State != "CLOSE_WAIT" {
		return
	}
	var from []*life
	for _, s := range l.host(on).listeners[row.Local.Port()] {
		local := socket{addr: row.Local.Addr()}
		if overlap(socket{addr: s.local.Addr(), v6only: s.v6only.value}, local) {
			from = append(from, s)
		}
	}
	if len(from) == 0 {
		return
	}
	first := from[0]
	same := func(get func(*life) option) *bool {
		for _, s := range from {
			o := get(s)
			if o.moved || o.value == nil || *o.value != isTrue(get(first).value) {
				return nil
			}
		}
		return get(first).value
	}
	h.ReuseAddr = same(func(s *life) option { return s.reuseAddr })
	h.ReusePort = same(func(s *life) option { return s.reusePort })
	if h.V6Only == nil {
		h.V6Only = same(func(s *life) option { return s.v6only })
	}
	h.Facts = events(first.reuseAddr.n, first.reusePort.n, first.listenN)
	h.Program, h.Owner = first.program, events(first.listenN)
}

// closedFirst tells which side of a connection closed first, and the events
// that decide it. s is what is known of the holder, or nil.
//
// Most states tell by themselves (RFC 9293, section 3.3.2). For TIME_WAIT, a
// side that reads a FIN before it closes was not first; otherwise one close
// must have returned before the other began; calls that overlap decide nothing.
func (l *lab) closedFirst(on string, row journal.Socket, s *life) (Side, []int) {
	if !row.Remote.IsValid() || row.Remote.Port() == 0 {
		return Unknown, nil
	}
	switch row.State {
	case "FIN_WAIT1", "FIN_WAIT2":
		return ThisSide, nil
	case "CLOSE_WAIT", "LAST_ACK":
		return PeerSide, nil
	case "TIME_WAIT":
	default:
		return Unknown, nil
	}
	peer := l.peer(on, row.Local, row.Remote)
	var mine, theirs, mineRead, theirRead *moment
	if s != nil {
		mine, mineRead = s.finSent(), s.finRead
	}
	if peer != nil {
		theirs, theirRead = peer.finSent(), peer.finRead
	}
	switch {
	case theirRead != nil && theirRead.before(theirs):
		return ThisSide, numbers(mine, theirRead)
	case mineRead != nil && mineRead.before(mine):
		return PeerSide, numbers(theirs, mineRead)
	case mine != nil && theirs != nil && mine.before(theirs):
		return ThisSide, numbers(mine, theirs)
	case mine != nil && theirs != nil && theirs.before(mine):
		return PeerSide, numbers(theirs, mine)
	}
	return Unknown, nil
}

// before reports whether m was over when b began, or b has not come.
func (m *moment) before(b *moment) bool { return b == nil || m.to <= b.from }

func numbers(m ...*moment) []int {
	var n []int
	for _, m := range m {
		if m != nil {
			n = append(n, m.n)
		}
	}
	return events(n...)
}

// events are the numbers that are set, in order, each once.
func events(n ...int) []int {
	n = slices.DeleteFunc(n, func(n int) bool { return n == 0 })
	slices.Sort(n)
	return slices.Compact(n)
}
