package tcpstate

import (
	"net/netip"
	"slices"
	"testing"

	"restartlab/labctl/internal/journal"
)

// tape makes events of a fuzzer's bytes: few ends, numbers and cookies, so that they
// meet.
type tape struct {
	b []byte
	t int64
}

func (p *tape) next() int {
	if len(p.b) == 0 {
		return 0
	}
	n := p.b[0]
	p.b = p.b[1:]
	return int(n)
}

func (p *tape) ends() (local, remote netip.AddrPort) {
	if p.next()%4 == 0 {
		return here, netip.AddrPortFrom(there.Addr(), 40001)
	}
	return here, there
}

func (p *tape) segment() *journal.Segment {
	g := &journal.Segment{Seq: uint32(p.next() % 8), Ack: uint32(p.next() % 8), Length: p.next() % 3, Window: uint16(p.next() % 16)}
	g.From, g.To = p.ends()
	flags := p.next()
	if g.Out = flags&64 != 0; !g.Out {
		g.From, g.To = g.To, g.From
	}
	for i, name := range []string{"SYN", "ACK", "FIN", "RST"} {
		if flags>>i&1 != 0 {
			g.Flags = append(g.Flags, name)
		}
	}
	if flags&32 != 0 {
		g.Options = []string{[]string{"sack 1-2", "sack", "wscale 99", ""}[p.next()%4]}
	}
	return g
}

var someStates = []string{listening, synSent, synRecv, established, finWait1, finWait2, closeWait, closing, lastAck, timeWait, "BOUND", "?"}

func (p *tape) socket() journal.Socket {
	s := journal.Socket{State: someStates[p.next()%len(someStates)], Cookie: uint64(p.next() % 5)}
	s.Local, s.Remote = p.ends()
	return s
}

func (p *tape) call() *journal.Syscall {
	size := 1
	c := &journal.Syscall{Name: []string{"listen", "connect", "accept", "read", "socket"}[p.next()%5], Start: p.t - int64(p.next()),
		Errno: []string{"", "", "EADDRINUSE", "ECONNREFUSED", "ECONNRESET", "EINPROGRESS", "ETIMEDOUT"}[p.next()%7],
		Args:  journal.Args{Bytes: &size, Type: "SOCK_STREAM", Address: there}}
	s := p.socket()
	c.Socket = &journal.SocketFacts{Cookie: s.Cookie, Local: s.Local, Remote: s.Remote}
	if p.next()%4 == 0 {
		c.Socket.Remote = netip.AddrPort{}
	}
	return c
}

// add hands the next event to a host. Now and then time goes back, and now and then
// what is known is taken.
func (p *tape) add(h *Host) (events []journal.Event) {
	p.t += int64(p.next()%16) - 3
	e := journal.Event{T: p.t}
	switch p.next() % 16 {
	default:
		e.Segment = p.segment()
		h.Add(e)
	case 0:
		e.Sockets = &journal.Sockets{Duration: int64(p.next() % 8), Port: uint16(p.next() % 2 * 12500)}
		for range p.next() % 4 {
			e.Sockets.Rows = append(e.Sockets.Rows, p.socket())
		}
		h.Add(e)
	case 1, 2, 3:
		e.Syscall = p.call()
		h.Add(e)
	case 4:
		h.Destroyed(p.t, p.socket())
	case 5:
		h.Gone(p.t, uint64(p.next()%5))
	case 6:
		e.Change = &journal.Change{Sysctls: map[string]string{"net.ipv4.tcp_max_tw_buckets": []string{"0", "1", "10", "x"}[p.next()%4]}}
		h.Add(e)
	case 7:
		events = h.Take()
		h.Open()
		h.Unnamed()
	}
	return events
}

// FuzzHost feeds a host with anything. Each transition of a socket must begin where
// the last one ended, and what is called inferred be an arrow of RFC 9293.
func FuzzHost(f *testing.F) {
	f.Add([]byte("a client connects, and its server closes first"))
	f.Add([]byte{4, 9, 1, 0, 0, 9, 1, 65, 4, 9, 5, 2, 0, 9, 1, 3, 4, 9, 2, 6, 0, 9, 1, 66, 4, 9, 6, 2, 0, 9, 1, 6, 4, 9, 2, 7, 0, 9, 1, 66})
	f.Fuzz(func(t *testing.T, b []byte) {
		h := New()
		p := &tape{b: b}
		var events []journal.Event
		for len(p.b) > 0 {
			events = append(events, p.add(h)...)
		}
		events = append(events, h.End()...)
		at := map[uint64]string{}
		for _, e := range events {
			s := e.State
			if s.Source == journal.SourceInferred && !slices.Contains(arrows[s.From], s.To) {
				t.Errorf("inferred: %+v", s)
			}
			if s.From == s.To || arrows[s.From] == nil || arrows[s.To] == nil {
				t.Errorf("%+v", s)
			}
			if s.Cookie == 0 {
				continue // of many sockets
			}
			last, known := at[s.Cookie]
			if known && last != s.From || !known && s.From != closed && s.From != listening {
				t.Errorf("after %q comes %+v", last, s)
			}
			at[s.Cookie] = s.To
		}
	})
}
