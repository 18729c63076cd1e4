// Package tcpstate is the inferred layer: it works out how the sockets of a host
// changed their TCP state from what any user may see, where the kernel does not
// tell: the host's own segments, the socket calls of the lab's programs, socket
// tables, and the kernel's messages about sockets that are gone.
//
// It is pure. It promises that each transition of a socket begins in the state in
// which the one before ended, and that one it calls inferred is an arrow of RFC
// 9293. It tells of none before something shows that it happened. A segment that
// leaves the host does: TCP sent it. One that arrives does not, since a firewall
// behind the capture may have dropped it; what TCP answers to it, or a call, or a
// table has to show that it was taken in. Where nothing does, nothing is told, and
// the next table in which the socket stands otherwise is: its transitions have the
// source sockdiag, and may leap over states.
package tcpstate

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"

	"restartlab/labctl/internal/journal"
)

// Host follows the sockets of one host. Its methods must not be called by two
// goroutines at once.
type Host struct {
	waiting []item // not followed yet
	ready   []journal.Event

	cookies map[uint64]*socket
	current map[ends]*socket   // the newest connection between two ends
	unnamed map[ends][]*socket // those whose cookie is not known, oldest first
	live    map[*socket]bool   // not in CLOSE
	asked   map[ends]syn       // the last SYN that reached the host
	others  map[uint64]bool    // cookies of sockets that are not TCP's

	minis      int   // connections that may be minisockets: in FIN_WAIT2 or TIME_WAIT
	mostMinis  int   // net.ipv4.tcp_max_tw_buckets, 0 if not known
	finTimeout int64 // net.ipv4.tcp_fin_timeout, ns, 0 if not known
	keepsWaits bool  // net.ipv4.tcp_rfc1337: an RST does not end a TIME_WAIT
	lossy      bool  // segments were lost: what was not seen may have been
}

// New follows a host from its beginning.
func New() *Host {
	return &Host{cookies: map[uint64]*socket{}, current: map[ends]*socket{}, unnamed: map[ends][]*socket{},
		live: map[*socket]bool{}, asked: map[ends]syn{}, others: map[uint64]bool{}}
}

// ends are the two addresses of a connection, IPv4 as such whatever the socket.
type ends struct{ local, remote netip.AddrPort }

func endsOf(local, remote netip.AddrPort) ends {
	plain := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
	return ends{plain(local), plain(remote)}
}

// item is something that was seen, and when.
type item struct {
	t    int64
	what any // segment, table, journal.Syscall, destroyed, gone, settings or loss
}

type (
	// table is a look at the host's sockets that began at start.
	table struct {
		start int64
		journal.Sockets
	}
	destroyed struct{ journal.Socket }
	gone      struct{ cookie uint64 }
	settings  map[string]string
	loss      struct{}
)

// mostWaiting bounds what waits to be followed. Beyond it, what is older than late
// is: by then every observer has told what it saw.
const (
	mostWaiting = 1 << 15
	late        = 2_000_000_000 // ns
)

// Add takes an event of the host, in any order of time. What says nothing of
// states is passed over. It costs little: nothing is worked out yet.
func (h *Host) Add(e journal.Event) {
	switch {
	case e.Segment != nil:
		h.add(e.T, readSegment(e.Segment))
	case e.Syscall != nil:
		h.add(e.T, *e.Syscall)
	case e.Sockets != nil && !e.Sockets.UDP:
		h.add(e.T, table{e.T - e.Sockets.Duration, *e.Sockets})
	case e.Change != nil && len(e.Change.Sysctls) > 0:
		h.add(e.T, settings(e.Change.Sysctls))
	case e.Loss != nil:
		h.add(e.T, loss{})
	}
}

// Destroyed takes the kernel's message that a socket is gone for good
// (SKNLGRP_INET_TCP_DESTROY). A minisocket may live on in its place.
func (h *Host) Destroyed(t int64, s journal.Socket) { h.add(t, destroyed{s}) }

// Gone says that a socket with this cookie was looked for and is not there.
func (h *Host) Gone(t int64, cookie uint64) { h.add(t, gone{cookie}) }

func (h *Host) add(t int64, what any) {
	h.waiting = append(h.waiting, item{t, what})
	if len(h.waiting) < mostWaiting {
		return
	}
	newest := h.waiting[len(h.waiting)-1].t
	h.follow(newest - late)
}

// follow takes in what waits, in the order of time, up to a time.
func (h *Host) follow(until int64) {
	slices.SortStableFunc(h.waiting, func(a, b item) int { return cmp.Compare(a.t, b.t) })
	n := 0
	for ; n < len(h.waiting) && h.waiting[n].t <= until; n++ {
		i := h.waiting[n]
		switch w := i.what.(type) {
		case segment:
			h.segment(i.t, w)
		case journal.Syscall:
			h.call(i.t, &w)
		case table:
			h.table(i.t, w)
		case destroyed:
			h.destroyed(i.t, w.Socket)
		case gone:
			if s := h.cookies[w.cookie]; s != nil && s.state != closed && s.alive < i.t {
				s.die(i.t, journal.SourceDiag)
			}
		case settings:
			h.settings(w)
		case loss:
			h.lossy = true
		}
	}
	h.waiting = append(h.waiting[:0:0], h.waiting[n:]...)
}

func (h *Host) settings(values settings) {
	if n, err := strconv.Atoi(values["net.ipv4.tcp_max_tw_buckets"]); err == nil {
		h.mostMinis = n
	}
	if n, err := strconv.Atoi(values["net.ipv4.tcp_fin_timeout"]); err == nil {
		h.finTimeout = int64(n) * 1e9
	}
	if v, ok := values["net.ipv4.tcp_rfc1337"]; ok {
		h.keepsWaits = v != "0"
	}
}

// Take returns the transitions that are known by all that was added, in the order
// of time. Those of a socket whose cookie nothing has told yet are kept back.
func (h *Host) Take() []journal.Event {
	h.follow(1<<63 - 1)
	slices.SortStableFunc(h.ready, func(a, b journal.Event) int {
		return cmp.Or(cmp.Compare(a.T, b.T), cmp.Compare(a.State.Cookie, b.State.Cookie),
			a.State.Local.Compare(b.State.Local), a.State.Remote.Compare(b.State.Remote))
	})
	events := h.ready
	h.ready = nil
	return events
}

// Unnamed counts the connections that are over, and whose cookie a message of the
// kernel could still tell.
func (h *Host) Unnamed() (n int) {
	h.follow(1<<63 - 1)
	for _, all := range h.unnamed {
		for _, s := range all {
			if s.state == closed && s.full {
				n++
			}
		}
	}
	return n
}

// End is Take for the last time: it returns what was kept back too, without a
// cookie.
func (h *Host) End() []journal.Event {
	h.follow(1<<63 - 1)
	for _, all := range h.unnamed {
		for _, s := range all {
			h.ready = append(h.ready, s.told...)
			s.told = nil
		}
	}
	clear(h.unnamed)
	return h.Take()
}

// name says which socket a connection is, and how the kernel writes its ends. It
// reports false if the cookie is another's.
func (h *Host) name(s *socket, cookie uint64, local, remote netip.AddrPort) bool {
	if s.cookie == cookie {
		return true
	}
	// A socket that could not connect may try again.
	other := h.cookies[cookie]
	if s.cookie != 0 || cookie == 0 || other != nil && (other.state != closed || s.passive || other.since >= s.born) {
		return false
	}
	s.cookie = cookie
	h.cookies[cookie] = s
	if remote.IsValid() {
		s.local, s.remote = local, remote
	}
	h.unnamed[s.ends] = slices.DeleteFunc(h.unnamed[s.ends], func(o *socket) bool { return o == s })
	if len(h.unnamed[s.ends]) == 0 {
		delete(h.unnamed, s.ends)
	}
	for _, e := range s.told {
		e.State.Cookie, e.State.Local, e.State.Remote = cookie, s.local, s.remote
	}
	h.ready = append(h.ready, s.told...)
	s.told = nil
	return true
}

// find is the socket with this cookie, or else the connection between the ends
// that was the newest at a time and has no cookie yet, which it is given.
func (h *Host) find(t int64, cookie uint64, local, remote netip.AddrPort) *socket {
	if cookie == 0 {
		return nil
	}
	if s := h.cookies[cookie]; s != nil && s.state != closed {
		return s
	}
	for _, s := range slices.Backward(h.unnamed[endsOf(local, remote)]) {
		if s.born <= t && h.name(s, cookie, local, remote) {
			return s
		}
	}
	return h.cookies[cookie]
}

// connection begins to follow a connection, as yet in a state in which nothing was
// told of it. What was between the same ends before is over.
func (h *Host) connection(t int64, e ends, state string) *socket {
	if old := h.current[e]; old != nil && old.state != closed {
		old.replaced(t)
	}
	s := &socket{host: h, ends: e, local: e.local, remote: e.remote, state: state, born: t, since: t, alive: t}
	h.current[e] = s
	h.unnamed[e] = append(h.unnamed[e], s)
	h.live[s] = true
	return s
}

// forget drops a connection of which nothing was told.
func (h *Host) forget(s *socket) {
	delete(h.live, s)
	if h.current[s.ends] == s {
		delete(h.current, s.ends)
	}
	h.unnamed[s.ends] = slices.DeleteFunc(h.unnamed[s.ends], func(o *socket) bool { return o == s })
	if len(h.unnamed[s.ends]) == 0 {
		delete(h.unnamed, s.ends)
	}
}

// roomForMini reports whether the kernel surely makes one more minisocket; beyond
// its limit it closes connections without a TIME_WAIT.
func (h *Host) roomForMini() bool { return h.minis < h.mostMinis }

// Open reports whether a look at the host's table could tell more now.
func (h *Host) Open() bool {
	h.follow(1<<63 - 1)
	for s := range h.live {
		if s.unsettled() {
			return true
		}
	}
	for _, all := range h.unnamed {
		for _, s := range all {
			if s.state != closed && len(s.told) > 0 {
				return true
			}
		}
	}
	return false
}
