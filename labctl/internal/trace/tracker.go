package trace

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	"restartlab/labctl/internal/journal"
)

// tracker turns the records of one host into the transitions of its sockets. It
// is pure.
//
// The kernel has three kinds of object for what is one socket to RFC 9293: a
// request socket (SYN_RECV), a full socket, and a minisocket (TIME_WAIT, or
// FIN_WAIT2 after close()). Its tracepoint inet_sock_set_state knows the full
// one alone, so it says CLOSE when a socket becomes a minisocket, and shows a
// server's connection as a copy of its listener. The tracker joins the three by
// cookie and addresses, and tells what happened to the connection.
//
// A transition may be told later than one that came after it, when only
// something later shows what it was. Its time is always its own.
type tracker struct {
	tick int64 // a jiffy, ns
	// blind: this kernel does not tell of segments that reach minisockets. A
	// FIN_WAIT2 that becomes TIME_WAIT is then found in the socket table.
	blind bool

	sockets   map[uint64]*socket  // full sockets, by cookie
	children  map[uint64]int64    // copied from a listener and not seen since: by object, when
	requests  map[uint64]*request // by object
	waits     map[uint64]*wait    // minisockets, by object
	cancelled map[uint64]*wait    // those of waits whose timer does not run, as far as was seen
}

func newTracker(tick int64, blind bool) *tracker {
	return &tracker{tick: tick, blind: blind, sockets: map[uint64]*socket{}, children: map[uint64]int64{},
		requests: map[uint64]*request{}, waits: map[uint64]*wait{}, cancelled: map[uint64]*wait{}}
}

// socket is a full socket.
type socket struct {
	local, remote netip.AddrPort
	// dialing is its CLOSE -> SYN_SENT, held back: the kernel tells it before
	// it picks the local port (tcp_v4_connect).
	dialing *transition
	reset   bool
	wait    *wait // what it is about to become
}

// request is a connection whose handshake is under way at a listener.
type request struct {
	ends                     ends
	born, cancelled, expired int64 // 0: not
	cookie                   uint64
	told                     bool // that it was born
}

// wait is a minisocket.
type wait struct {
	cookie        uint64
	local, remote netip.AddrPort
	state         uint8 // finWait2 or timeWait
	since         int64 // when it came into that state
	due           int64
	settled       bool  // the full socket it was is gone
	cancelled     int64 // 0: not
}

// ends are the two addresses of a connection, IPv4 as such whatever the socket.
type ends struct{ local, remote netip.AddrPort }

func endsOf(local, remote netip.AddrPort) ends {
	plain := func(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
	return ends{plain(local), plain(remote)}
}

// transition is a change of state and when it was.
type transition struct {
	t int64
	journal.State
}

func change(t int64, cookie uint64, local, remote netip.AddrPort, from, to uint8) transition {
	return transition{t, journal.State{Cookie: cookie, Local: local, Remote: remote,
		From: stateName(from), To: stateName(to), Source: journal.SourceKernel}}
}

// Causes of a transition.
const (
	byTimer = "timer"
	byReset = "reset"
	reused  = "reused" // a new connection between the same ends took a TIME_WAIT's place
	killed  = "killed" // a minisocket was freed before its time: by an RST, or SOCK_DESTROY
)

// add takes the next record and returns what it shows.
func (k *tracker) add(r record) []transition {
	switch r.kind {
	case stateChanged:
		return k.state(r)
	case resetReceived:
		k.socket(r).reset = true
	case waitStarted:
		return k.waitStart(r)
	case waitCancelled:
		if w := k.wait(r); w != nil {
			w.cancelled = r.time
			k.cancelled[r.object] = w
		}
	case waitExpired:
		if w := k.wait(r); w != nil {
			told := k.become(w, r.to, r.time, journal.SourceDiag)
			return append(told, k.over(r.object, w, r.time, byTimer))
		}
	case waitSegment:
		if w := k.wait(r); w != nil {
			return k.become(w, r.to, r.time, journal.SourceKernel)
		}
	case requestStarted:
		return k.requestStart(r)
	case requestCancelled:
		if q := k.requests[r.object]; q != nil {
			q.cancelled = r.time
		}
	case requestExpired:
		if q := k.requests[r.object]; q != nil {
			q.expired = r.time
		}
	}
	return nil
}

// socket is the full socket of a record. Its addresses are those last seen: a
// port that was given back is 0 in the record.
func (k *tracker) socket(r record) *socket {
	s := k.sockets[r.cookie]
	if s == nil {
		s = &socket{}
		k.sockets[r.cookie] = s
	}
	if r.local.Port() != 0 || !s.local.IsValid() {
		s.local = r.local
	}
	if r.remote.IsValid() {
		s.remote = r.remote
	}
	return s
}

func (k *tracker) state(r record) (told []transition) {
	if r.from == listening && r.to == synRecv {
		k.children[r.object] = r.time // as yet without addresses and cookie
		return nil
	}
	s := k.socket(r)
	now := change(r.time, r.cookie, s.local, s.remote, r.from, r.to)
	switch {
	case r.to == synSent && s.local.Port() == 0:
		s.dialing = &now
		return nil
	case r.from == synSent:
		told = append(k.takeOver(endsOf(s.local, s.remote)), k.dialed(s)...)
	case r.from == synRecv:
		told = k.accepted(r, s)
	}
	delete(k.children, r.object)
	if r.to != closed {
		return append(told, now)
	}
	delete(k.sockets, r.cookie)
	if w := s.wait; w != nil {
		// It is a minisocket now, and this its life as a full one.
		w.settled = true
		if w.state == r.from {
			return told
		}
		now = change(w.since, w.cookie, w.local, w.remote, r.from, w.state)
		now.Due = w.untilDue()
		return append(told, now)
	}
	if s.reset {
		now.Why = byReset
	}
	return append(told, now)
}

// dialed tells of a SYN_SENT that was held back.
func (k *tracker) dialed(s *socket) []transition {
	d := s.dialing
	if d == nil {
		return nil
	}
	s.dialing = nil
	d.Local = s.local
	return []transition{*d}
}

// accepted tells how a full socket came into SYN_RECV, unless it was told or it
// is no child of a listener. The handshake began with the request socket; with
// SYN cookies, or TCP Fast Open, there was none.
func (k *tracker) accepted(r record, s *socket) []transition {
	born, child := k.children[r.object]
	for object, q := range k.requests {
		if child && q.ends == endsOf(s.local, s.remote) {
			delete(k.requests, object)
			born, child = q.born, !q.told
			break
		}
	}
	if !child {
		return nil
	}
	return []transition{change(born, r.cookie, s.local, s.remote, listening, synRecv)}
}

// wait is the minisocket of a record, nil if its birth was not seen.
func (k *tracker) wait(r record) *wait {
	w := k.waits[r.object]
	if w == nil || w.cookie != r.cookie {
		return nil
	}
	return w
}

func (k *tracker) waitStart(r record) (told []transition) {
	due := int64(0)
	if r.left > 0 {
		due = r.time + r.left*k.tick
	}
	if w := k.wait(r); w != nil { // armed again
		w.cancelled, w.due = 0, due
		delete(k.cancelled, r.object)
		return k.become(w, r.to, r.time, journal.SourceKernel)
	}
	if old := k.waits[r.object]; old != nil { // whose memory it is now
		told = append(told, k.over(r.object, old, cmp.Or(old.cancelled, r.time), killed))
	}
	w := &wait{cookie: r.cookie, local: r.local, remote: r.remote, state: r.to, since: r.time, due: due}
	k.waits[r.object] = w
	// What it was is told by its full socket's end, right after (tcp_time_wait).
	k.socket(r).wait = w
	return told
}

// become notes the state that a minisocket stands for.
func (k *tracker) become(w *wait, state uint8, t int64, source string) []transition {
	if state == w.state || state != timeWait {
		return nil
	}
	now := change(t, w.cookie, w.local, w.remote, w.state, state)
	w.state, w.since = state, t
	now.Source, now.Due = source, w.untilDue()
	if !w.settled {
		return nil // told when it is
	}
	return []transition{now}
}

func (w *wait) untilDue() int64 {
	if w.state != timeWait {
		return 0
	}
	return w.due
}

// over tells the end of a minisocket.
func (k *tracker) over(object uint64, w *wait, t int64, why string) transition {
	delete(k.waits, object)
	delete(k.cancelled, object)
	now := change(t, w.cookie, w.local, w.remote, w.state, closed)
	now.Why = why
	return now
}

// takeOver tells the end of minisockets whose place a new connection has taken.
func (k *tracker) takeOver(e ends) (told []transition) {
	for object, w := range k.cancelled {
		if endsOf(w.local, w.remote) == e {
			told = append(told, k.over(object, w, w.cancelled, reused))
		}
	}
	return told
}

func (k *tracker) requestStart(r record) []transition {
	e := endsOf(r.local, r.remote)
	if q := k.requests[r.object]; q != nil && q.ends == e {
		q.cancelled, q.expired = 0, 0 // the answer was sent again
		return nil
	}
	k.requests[r.object] = &request{ends: e, born: r.time}
	return k.takeOver(e)
}

// unsettled reports whether the socket table would show what no record has yet.
func (k *tracker) unsettled() bool {
	if len(k.cancelled) > 0 {
		return true
	}
	for _, q := range k.requests {
		if !q.told || q.cancelled != 0 {
			return true
		}
	}
	for _, s := range k.sockets {
		if s.dialing != nil {
			return true
		}
	}
	if k.blind {
		for _, w := range k.waits {
			if w.state == finWait2 {
				return true
			}
		}
	}
	return false
}

// settle tells what the host's socket table shows of sockets that the records
// leave open. The reading of the table began at the time start and is over, and
// every record from before its end has been added.
//
// A timer that was cancelled before start, and a socket that is not in the table,
// make a socket that is gone: no record tells that, since none is made when one is
// freed. Looking a request socket up gives it its cookie (sock_diag_save_cookie),
// which its child then inherits.
func (k *tracker) settle(rows []journal.Socket, start int64) (told []transition) {
	cookies := map[uint64]journal.Socket{}
	pairs := map[ends]journal.Socket{}
	for _, row := range rows {
		cookies[row.Cookie] = row
		pairs[endsOf(row.Local, row.Remote)] = row
	}
	for cookie, s := range k.sockets {
		if row, there := cookies[cookie]; s.dialing != nil && there && row.Local.Port() != 0 {
			s.local = row.Local
			told = append(told, k.dialed(s)...)
		}
	}
	for object, q := range maps.Clone(k.requests) {
		row, there := pairs[q.ends]
		gone := !there && q.cancelled != 0 && q.cancelled < start
		if there && row.State == stateName(synRecv) {
			q.cookie = row.Cookie
		}
		if !q.told && (gone || q.cookie != 0) {
			q.told = true
			told = append(told, change(q.born, q.cookie, q.ends.local, q.ends.remote, listening, synRecv))
		}
		if gone {
			delete(k.requests, object)
			end := change(q.cancelled, q.cookie, q.ends.local, q.ends.remote, synRecv, closed)
			if q.expired != 0 {
				end.Why = byTimer
			}
			told = append(told, end)
		}
	}
	for object, w := range maps.Clone(k.cancelled) {
		if _, there := cookies[w.cookie]; !there && w.cancelled < start {
			told = append(told, k.over(object, w, w.cancelled, killed))
		}
	}
	if k.blind {
		for _, w := range k.waits {
			if row := cookies[w.cookie]; w.settled && row.State == stateName(timeWait) {
				told = append(told, k.become(w, timeWait, start, journal.SourceDiag)...)
			}
		}
	}
	inOrder(told)
	return told
}

// inOrder sorts by time, and at the same time by cookie.
func inOrder(told []transition) {
	slices.SortStableFunc(told, func(a, b transition) int {
		return cmp.Or(cmp.Compare(a.t, b.t), cmp.Compare(a.Cookie, b.Cookie))
	})
}
