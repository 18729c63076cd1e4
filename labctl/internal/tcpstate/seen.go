package tcpstate

import (
	"net/netip"

	"restartlab/labctl/internal/journal"
)

// table takes a look at the host's sockets. Its rows were read between its start
// and t.
func (h *Host) table(t int64, look table) {
	here := map[*socket]bool{}
	for _, row := range look.Rows {
		if s := h.row(t, look.start, row); s != nil {
			here[s] = true
		}
	}
	if look.Error != "" {
		return
	}
	for s := range h.live {
		if !here[s] && s.alive < look.start && (look.Port == 0 || look.Port == s.local.Port()) {
			s.die(t, journal.SourceDiag)
		}
	}
}

// row takes a row of a table, and returns the socket that it shows to be there.
func (h *Host) row(t, start int64, row journal.Socket) *socket {
	switch {
	case row.State == "BOUND" || row.State == closed:
		return h.lost(t, start, row)
	case row.State == listening:
		return h.listens(t, start, row.Cookie, row.Local, journal.SourceDiag)
	case arrows[row.State] == nil || !row.Remote.IsValid():
		return nil
	}
	s := h.find(t, row.Cookie, row.Local, row.Remote)
	if s != nil && s.state == closed && s.since >= start {
		return nil // it ended while the table was read
	}
	if s == nil || s.state == closed {
		s = h.connection(t, endsOf(row.Local, row.Remote), closed)
		h.name(s, row.Cookie, row.Local, row.Remote)
		s.tell(t, row.State, journal.SourceDiag, "")
		return s
	}
	s.seen(t, start, row.State)
	if row.Timer == "timewait" && s.mini == 0 {
		s.mini = t
	}
	return s
}

// lost takes the row of a full socket without a connection. A socket whose place a
// minisocket takes while the table is read shows so, too: nothing is known of that.
func (h *Host) lost(t, start int64, row journal.Socket) *socket {
	s := h.find(t, row.Cookie, row.Local, row.Remote)
	switch {
	case s == nil || s.state == closed:
		return nil
	case s.state == finWait1 || s.state == finWait2 || s.state == closing || s.alive >= start:
		return s
	}
	s.die(t, journal.SourceDiag)
	return nil
}

// seen takes the state in which a table shows a connection.
func (s *socket) seen(t, start int64, state string) {
	s.requested()
	fresh := s.alive < start
	if s.reset.t < start {
		s.reset = fact{}
	}
	switch {
	case state == s.state:
		// What came before the look, and would have changed it, was not
		// taken in.
		if s.opened < start && (state == synSent || state == synRecv) {
			s.opened = 0
		}
		if s.acked.t < start && acked.then(state) != "" {
			s.acked = fact{}
		}
		if s.finned.last < start && finned.then(state) != "" {
			s.finned = fact{}
		}
	case s.reach(state):
	case leads(s.state, state) || fresh:
		s.tell(t, state, journal.SourceDiag, "")
	default:
		return // older than what is known
	}
	s.alive = max(s.alive, start)
}

// listens notes that a socket listens.
func (h *Host) listens(t, start int64, cookie uint64, local netip.AddrPort, source string) *socket {
	s := h.cookies[cookie]
	if s != nil && s.state == closed && s.since >= start {
		return nil
	}
	if s == nil {
		s = &socket{host: h, cookie: cookie, local: local, state: closed, born: t, since: t}
		h.cookies[cookie] = s
	}
	if s.state == closed {
		s.local, s.remote = local, netip.AddrPort{}
		s.tell(t, listening, source, "")
	}
	s.alive = max(s.alive, start)
	return s
}

// destroyed takes the kernel's message that a full socket is gone. What may have
// become a minisocket has to be looked for.
func (h *Host) destroyed(t int64, d journal.Socket) {
	s := h.cookies[d.Cookie]
	if s == nil {
		for _, o := range h.unnamed[endsOf(d.Local, d.Remote)] { // the oldest is the first to go
			if o.born <= t && h.name(o, d.Cookie, d.Local, d.Remote) {
				s = o
				break
			}
		}
	}
	if s == nil || s.alive > t {
		return
	}
	if s.opened != 0 && (s.request != 0 || s.state == synRecv) {
		s.open() // a request socket makes no such message
	}
	switch s.state {
	case listening, synSent, lastAck:
		s.die(t, journal.SourceDiag)
	case established, closeWait:
		if s.traffic && !h.lossy { // or its FIN would have been seen
			s.die(t, journal.SourceDiag)
		}
	case finWait2:
		if s.mini == 0 {
			s.mini = t
		}
	}
}

// call takes a socket call of one of the lab's own programs.
func (h *Host) call(t int64, c *journal.Syscall) {
	facts := c.Socket
	if facts == nil || facts.Cookie == 0 {
		return
	}
	if c.Name == "socket" && c.Args.Type != "SOCK_STREAM" {
		h.others[facts.Cookie] = true
	}
	if h.others[facts.Cookie] {
		return
	}
	var s *socket
	if facts.Remote.IsValid() && facts.Remote.Port() != 0 {
		s = h.find(t, facts.Cookie, facts.Local, facts.Remote)
	} else if s = h.cookies[facts.Cookie]; s == nil && c.Name == "connect" && c.Failed() {
		s = h.refused(t, c)
	}
	if c.Name == "listen" {
		h.listen(t, c)
		return
	}
	if (s == nil || s.state == closed) && c.Name == "connect" && c.Errno == "EADDRNOTAVAIL" && c.Args.Address.Addr().Unmap().Is4() {
		h.portless(t, c)
		return
	}
	if s == nil || s.state == closed || s.state == listening && s.request == 0 {
		return
	}
	switch {
	case c.Errno == "ECONNRESET", c.Errno == "ECONNREFUSED", c.Errno == "ETIMEDOUT":
		s.die(t, journal.SourceInferred)
	case c.Name == "connect" && c.Failed() && s.state == synSent && over(c.Errno):
		s.die(t, journal.SourceInferred)
	case c.Failed():
	case c.Name == "connect", c.Name == "accept":
		s.open()
	case c.Name == "read" && c.Result == 0 && c.Args.Bytes != nil && *c.Args.Bytes > 0:
		s.finTaken(false)
	}
}

// portless takes a connect() that found no local port. The socket is in SYN_SENT
// while the kernel looks for one, and sends nothing (tcp_v4_connect,
// inet_hash_connect). Over IPv6 the same answer may come before that.
func (h *Host) portless(t int64, c *journal.Syscall) {
	s := &socket{host: h, cookie: c.Socket.Cookie, local: c.Socket.Local, remote: c.Args.Address, state: closed, born: t, since: t}
	h.cookies[s.cookie] = s
	s.infer(t, synSent)
	s.infer(t, closed)
}

// over reports whether a connect() that failed so has given up.
func over(errno string) bool {
	switch errno {
	case "EINPROGRESS", "EALREADY", "EINTR", "EISCONN", "EAGAIN":
		return false
	}
	return true
}

// refused is the connection of a connect() that failed: the kernel no longer tells
// its ends. It is known if only one can be meant.
func (h *Host) refused(t int64, c *journal.Syscall) (found *socket) {
	to := endsOf(netip.AddrPort{}, c.Args.Address).remote
	for e, all := range h.unnamed {
		for _, s := range all {
			if e.remote != to || s.passive || s.born < c.Start || s.born > t {
				continue
			}
			if found != nil {
				return nil
			}
			found = s
		}
	}
	if found != nil && !h.name(found, c.Socket.Cookie, netip.AddrPort{}, netip.AddrPort{}) {
		return nil
	}
	return found
}

// listen is a listen() that returned. The kernel makes a socket listen before it
// checks whether it may: a refused one listened for a moment (inet_csk_listen_start).
func (h *Host) listen(t int64, c *journal.Syscall) {
	bound := c.Socket.Local.Port() != 0
	if c.Failed() && (c.Errno != "EADDRINUSE" || !bound) {
		return
	}
	s := h.cookies[c.Socket.Cookie]
	if s != nil && (s.state != closed || s.since > t) {
		return // again, for another backlog; or told by something later
	}
	if s = h.listens(t, t, c.Socket.Cookie, c.Socket.Local, journal.SourceInferred); s != nil && c.Failed() {
		s.infer(t, closed)
	}
}
