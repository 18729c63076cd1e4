package ladder

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"restartlab/labctl/internal/journal"
)

func read(t testing.TB, name string) []journal.Event {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	events, err := journal.ReadAll(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// enriched is a real journal with the segments and changes of state that belong
// to it by TCP's rules, made up: what the observers record.
func enriched(t testing.TB, name, source string) []journal.Event {
	events := read(t, name)
	r := &rules{source: source, lab: events[len(events)-1].Lab,
		ends: map[uint64]*end{}, open: map[uint64]map[int]bool{}}
	for _, e := range events {
		if e.Syscall != nil && e.Syscall.Socket != nil && (e.Syscall.Name == "accept" || e.Syscall.Name == "connect") {
			s := e.Syscall.Socket
			x := &end{host: e.Host, cookie: s.Cookie, local: s.Local, remote: s.Remote, state: "CLOSE", seq: uint32(e.N) * 777_777_777, active: e.Syscall.Name == "connect"}
			r.ends[s.Cookie] = x
			r.link(x)
		}
		if e.Syscall != nil && e.Syscall.Socket != nil && e.Syscall.Name != "close" {
			m := r.open[e.Syscall.Socket.Cookie]
			if m == nil {
				m = map[int]bool{}
				r.open[e.Syscall.Socket.Cookie] = m
			}
			m[e.PID] = true
		}
	}
	causes := slices.Clone(events)
	slices.SortStableFunc(causes, func(a, b journal.Event) int { return int(began(a) - began(b)) })
	for _, e := range causes {
		r.event(e)
	}
	all := append(events, r.out...)
	slices.SortStableFunc(all[1:], func(a, b journal.Event) int { return int(a.T - b.T) })
	for i := range all { // as if written in the order of time
		if all[i].Sockets != nil && all[i].Sockets.After != 0 {
			for j := range all[:i] {
				if c := all[j].Syscall; c != nil && c.Failed() {
					all[i].Sockets.After = j + 1
				}
			}
		}
		all[i].N = i + 1
	}
	return all
}

// began is when what an event tells took effect.
func began(e journal.Event) int64 {
	switch {
	case e.Syscall != nil && e.Syscall.Name != "accept" && e.Syscall.Name != "read":
		return e.Syscall.Start
	case e.Process != nil && e.Process.Phase == journal.PhaseExit:
		return e.T - 10_400_000
	}
	return e.T
}

type end struct {
	host          string
	cookie        uint64
	local, remote netip.AddrPort
	state         string
	seq           uint32
	active        bool
	peer          *end
	fin           bool
}

type rules struct {
	source, lab string
	ends        map[uint64]*end
	open        map[uint64]map[int]bool
	listen      []*end
	out         []journal.Event
}

func (r *rules) link(x *end) {
	for _, o := range r.ends {
		if o.local == x.remote && o.remote == x.local {
			o.peer, x.peer = x, o
		}
	}
}

func (r *rules) turn(t int64, x *end, to string) {
	if x.state == to {
		return
	}
	r.out = append(r.out, journal.Event{T: t, Lab: r.lab, Kind: journal.KindState, Host: x.host,
		State: &journal.State{Cookie: x.cookie, Local: x.local, Remote: x.remote, From: x.state, To: to, Source: r.source}})
	x.state = to
}

// send is a segment that leaves at t; it returns when it arrives.
func (r *rules) send(t int64, x *end, length int, flags ...string) int64 {
	s := journal.Segment{Interface: "eth0", Out: true, From: x.local, To: x.remote, Flags: flags, Seq: x.seq, Window: 502, Length: length}
	if x.host == x.peer.host {
		s.Interface = "lo"
	}
	if slices.Contains(flags, "ACK") {
		s.Ack = x.peer.seq
	}
	if flags[0] == "SYN" {
		s.Options = []string{"mss 1460", "sackOK", "ts 1 0", "wscale 7"}
		x.seq++
	}
	x.seq += uint32(length)
	if slices.Contains(flags, "FIN") {
		x.seq++
	}
	in := s
	in.Out = false
	arrives := t + 5_000 + int64(x.seq%15_000)
	r.out = append(r.out, journal.Event{T: t, Lab: r.lab, Kind: journal.KindSegment, Host: x.host, Segment: &s},
		journal.Event{T: arrives, Lab: r.lab, Kind: journal.KindSegment, Host: x.peer.host, Segment: &in})
	return arrives
}

func (r *rules) event(e journal.Event) {
	switch {
	case e.Syscall != nil && !e.Syscall.Failed():
		c := e.Syscall
		switch x := r.ends[c.Socket.Cookie]; c.Name {
		case "listen":
			l := &end{host: e.Host, cookie: c.Socket.Cookie, local: c.Socket.Local, state: "CLOSE"}
			r.listen = append(r.listen, l)
			r.turn(c.Start+2_000, l, "LISTEN")
		case "connect":
			r.turn(c.Start+9_000, x, "SYN_SENT")
			t := r.send(c.Start+12_000, x, 0, "SYN")
			x.peer.state = "LISTEN"
			r.turn(t+1_000, x.peer, "SYN_RECV")
			t = r.send(t+4_000, x.peer, 0, "SYN", "ACK")
			r.turn(t+1_000, x, "ESTABLISHED")
			t = r.send(t+3_000, x, 0, "ACK")
			r.turn(t+1_000, x.peer, "ESTABLISHED")
		case "write":
			t := r.send(c.Start+5_000, x, *c.Args.Bytes, "ACK", "PSH")
			r.send(t+3_000, x.peer, 0, "ACK")
		case "close":
			delete(r.open[c.Socket.Cookie], e.PID)
			if len(r.open[c.Socket.Cookie]) == 0 && x != nil {
				r.close(c.Start+4_000, x)
			}
		}
	case e.Process != nil && e.Process.Phase == journal.PhaseExit && e.Process.Signal != "":
		for _, x := range r.ends {
			if r.open[x.cookie][e.PID] && x.host == e.Host {
				delete(r.open[x.cookie], e.PID)
				if len(r.open[x.cookie]) == 0 && !x.fin && x.state == "ESTABLISHED" {
					r.close(e.T-10_400_000, x)
				}
			}
		}
		for _, l := range r.listen {
			if r.open[l.cookie][e.PID] {
				r.turn(e.T-900_000, l, "CLOSE")
			}
		}
	case e.Sockets != nil && e.Sockets.Port == 0:
		for _, x := range r.ends {
			gone := !slices.ContainsFunc(e.Sockets.Rows, func(s journal.Socket) bool { return s.Cookie == x.cookie })
			if x.host == e.Host && x.state == "TIME_WAIT" && gone {
				r.turn(e.T-700_000, x, "CLOSE")
				r.out[len(r.out)-1].State.Why = "timer"
			}
		}
	}
}

func (r *rules) close(t int64, x *end) {
	x.fin = true
	if x.state == "ESTABLISHED" {
		r.turn(t, x, "FIN_WAIT1")
		t = r.send(t+2_000, x, 0, "ACK", "FIN")
		r.turn(t+1_000, x.peer, "CLOSE_WAIT")
		t = r.send(t+3_000, x.peer, 0, "ACK")
		r.turn(t+1_000, x, "FIN_WAIT2")
		return
	}
	r.turn(t, x, "LAST_ACK")
	t = r.send(t+2_000, x, 0, "ACK", "FIN")
	r.turn(t+1_000, x.peer, "TIME_WAIT")
	t = r.send(t+3_000, x.peer, 0, "ACK")
	r.turn(t+1_000, x, "CLOSE")
}
