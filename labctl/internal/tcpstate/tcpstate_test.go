package tcpstate

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

var (
	here  = netip.MustParseAddrPort("192.0.2.1:12500")
	there = netip.MustParseAddrPort("192.0.2.2:40000")
)

const cookie = 7

// play feeds a host with what a script says, a line each:
//
//	T > FLAGS SEQ ACK LENGTH   a segment that leaves; < one that arrives. FLAGS are
//	                           of SAFR; a D after them is a duplicate reported
//	T table STATE              the connection in a socket table, - if it is not
//	T call NAME RESULT         a call on it that returned 0 or an error
//	T listen RESULT            a listen() of another socket
//	T destroyed
//	T gone
//	T set NAME=VALUE
//	T loss
//
// T is in ms. It returns what was told, a line each.
func play(t *testing.T, script string) (told []string) {
	t.Helper()
	h := New()
	h.Add(moment(0, journal.Event{Change: &journal.Change{Sysctls: map[string]string{
		"net.ipv4.tcp_max_tw_buckets": "100", "net.ipv4.tcp_fin_timeout": "60", "net.ipv4.tcp_rfc1337": "0"}}}))
	for line := range strings.Lines(script) {
		if f := strings.Fields(line); len(f) > 0 {
			feed(t, h, f)
		}
	}
	for _, e := range append(h.Take(), h.End()...) {
		s := e.State
		text := fmt.Sprintf("%d %s>%s", e.T/1e6, s.From, s.To)
		if s.Source != journal.SourceInferred {
			text += " " + s.Source
		}
		if s.Why != "" {
			text += " " + s.Why
		}
		told = append(told, text)
	}
	return told
}

func moment(ms int64, e journal.Event) journal.Event {
	e.T = ms * 1e6
	return e
}

func feed(t *testing.T, h *Host, f []string) {
	t.Helper()
	number := func(i int) int64 {
		if i >= len(f) {
			return 0
		}
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	at := number(0)
	both := &journal.SocketFacts{Cookie: cookie, Local: here, Remote: there}
	switch f[1] {
	case ">", "<":
		g := journal.Segment{Out: f[1] == ">", From: here, To: there, Seq: uint32(number(3)), Ack: uint32(number(4)), Length: int(number(5)), Window: 1000}
		if !g.Out {
			g.From, g.To = there, here
		}
		for _, c := range f[2] {
			switch c {
			case 'D':
				g.Options = append(g.Options, fmt.Sprintf("sack %d-%d", g.Ack-1, g.Ack))
			default:
				g.Flags = append(g.Flags, map[rune]string{'S': "SYN", 'A': "ACK", 'F': "FIN", 'R': "RST"}[c])
			}
		}
		h.Add(moment(at, journal.Event{Segment: &g}))
	case "table":
		var rows []journal.Socket
		if f[2] != "-" {
			rows = append(rows, journal.Socket{Family: "tcp", State: f[2], Local: here, Remote: there, Cookie: cookie})
		}
		h.Add(moment(at, journal.Event{Sockets: &journal.Sockets{Rows: rows}}))
	case "call":
		c := journal.Syscall{Name: f[2], Socket: both, Start: at*1e6 - 1e6}
		if size := 10; f[2] == "read" {
			c.Args.Bytes = &size
		}
		if f[3] != "0" {
			c.Errno, c.Result = f[3], -1
		}
		if f[2] == "connect" && c.Failed() {
			c.Start, c.Args.Address = 0, there
			c.Socket = &journal.SocketFacts{Cookie: cookie} // the kernel tells no more
		}
		h.Add(moment(at, journal.Event{Syscall: &c}))
	case "listen":
		c := journal.Syscall{Name: "listen", Socket: &journal.SocketFacts{Cookie: 3, Local: here}}
		if f[2] != "0" {
			c.Errno, c.Result = f[2], -1
		}
		h.Add(moment(at, journal.Event{Syscall: &c}))
	case "destroyed":
		h.Destroyed(at*1e6, journal.Socket{Cookie: cookie, Local: here, Remote: there})
	case "gone":
		h.Gone(at*1e6, cookie)
	case "set":
		name, value, _ := strings.Cut(f[2], "=")
		h.Add(moment(at, journal.Event{Change: &journal.Change{Sysctls: map[string]string{name: value}}}))
	case "loss":
		h.Add(moment(at, journal.Event{Loss: &journal.Loss{Observer: "capture", Count: 1}}))
	default:
		t.Fatalf("%q", f)
	}
}

// Handshakes: of a client, and of a server whose child has sent data since.
const (
	connected = `
		1 > S 100
		2 < SA 500 101
		3 > A 101 501`
	clients  = "1 CLOSE>SYN_SENT|2 SYN_SENT>ESTABLISHED"
	accepted = `
		1 < S 500
		2 > SA 100 501
		3 < A 501 101
		4 > A 101 501 10
		5 < A 501 111`
	servers = "1 LISTEN>SYN_RECV|3 SYN_RECV>ESTABLISHED"
)

func TestHost(t *testing.T) {
	for name, c := range map[string]struct{ script, want string }{
		"the peer closes first": {connected + `
			10 < FA 501 101
			11 > A 101 502
			20 > FA 101 502
			21 < A 502 102
			30 table -`, clients + "|10 ESTABLISHED>CLOSE_WAIT|20 CLOSE_WAIT>LAST_ACK|21 LAST_ACK>CLOSE"},
		"the FIN is acknowledged with the own one": {connected + `
			10 < FA 501 101
			20 > FA 101 502
			21 < A 502 102
			22 destroyed`, clients + "|10 ESTABLISHED>CLOSE_WAIT|20 CLOSE_WAIT>LAST_ACK|21 LAST_ACK>CLOSE"},
		"closes first": {accepted + `
			10 > FA 111 501
			11 < A 501 112
			20 < FA 501 112
			21 > A 112 502`, servers + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT"},
		"closes first, in three segments": {accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			30 table TIME_WAIT
			60030 gone`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT|60030 TIME_WAIT>CLOSE sockdiag timer"},
		"both close": {accepted + `
			10 < FA 501 111
			11 > FA 111 501
			12 > A 112 502
			13 < A 502 112
			14 table TIME_WAIT`, servers + "|11 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>CLOSING|13 CLOSING>TIME_WAIT"},
		"both close, and its FIN is seen after its own": {accepted + `
			10 > FA 111 501
			11 < FA 501 111
			12 > A 112 502
			14 table CLOSING`, servers + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>CLOSING"},
		"both close, and its FIN is dropped here": {accepted + `
			10 < FA 501 111
			11 > FA 111 501
			13 < A 502 112
			20 table FIN_WAIT2
			210 < FA 501 112
			211 > A 112 502`, servers + "|11 ESTABLISHED>FIN_WAIT1|13 FIN_WAIT1>FIN_WAIT2|210 FIN_WAIT2>TIME_WAIT"},
		"a FIN that nothing shows to be taken in": {connected + `
			10 < FA 501 101
			20 table ESTABLISHED`, clients},
		"a FIN that is dropped twice": {connected + `
			10 < FA 501 101
			210 < FA 501 101
			220 table ESTABLISHED
			610 < FA 501 101
			611 > A 101 502`, clients + "|610 ESTABLISHED>CLOSE_WAIT"},
		"a FIN that comes twice, and the answer says so": {connected + `
			10 < FA 501 101
			20 < FA 501 101
			21 > AD 101 502`, clients + "|10 ESTABLISHED>CLOSE_WAIT"},
		"a FIN behind data that was dropped": {connected + `
			10 < A 501 101 20
			11 < FA 521 101
			12 > A 101 501
			210 < A 501 101 20
			211 > A 101 522`, clients + "|210 ESTABLISHED>CLOSE_WAIT"},
		"a FIN that the program has read": {connected + `
			10 < FA 501 101
			12 call read 0`, clients + "|10 ESTABLISHED>CLOSE_WAIT"},
		"a FIN outside the window": {connected + `
			10 < FA 9501 101
			11 > A 101 501`, clients},
		"the own FIN is not acknowledged": {connected + `
			10 > FA 101 501
			210 > FA 101 501
			220 table FIN_WAIT1`, clients + "|10 ESTABLISHED>FIN_WAIT1"},
		"the acknowledgement of the own FIN is dropped once": {connected + `
			10 > FA 101 501
			11 < A 501 102
			210 > FA 101 501
			211 < A 501 102
			220 table FIN_WAIT2`, clients + "|10 ESTABLISHED>FIN_WAIT1|211 FIN_WAIT1>FIN_WAIT2"},
		"the acknowledgement of the own FIN is dropped": {connected + `
			10 > FA 101 501
			11 < A 501 102
			20 table FIN_WAIT1
			30 table -`, clients + "|10 ESTABLISHED>FIN_WAIT1|30 FIN_WAIT1>CLOSE sockdiag"},
		"half closed": {connected + `
			10 > FA 101 501
			11 < A 501 102 50
			12 > A 102 551`, clients + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>FIN_WAIT2"},
		"the SYN is sent again": {`
			1 > S 100
			1001 > S 100
			1002 < SA 500 101
			1003 > A 101 501`, "1 CLOSE>SYN_SENT|1002 SYN_SENT>ESTABLISHED"},
		"the SYN,ACK is dropped": {`
			1 > S 100
			2 < SA 500 101
			20 table SYN_SENT
			1001 > S 100
			1002 < SA 500 101
			1003 > A 101 501`, "1 CLOSE>SYN_SENT|1002 SYN_SENT>ESTABLISHED"},
		"connected, as the call says": {`
			1 > S 100
			2 < SA 500 101
			3 call connect 0`, clients},
		"refused": {`
			1 > S 100
			2 < RA 0 101
			3 call connect ECONNREFUSED`, "1 CLOSE>SYN_SENT|2 SYN_SENT>CLOSE reset"},
		"refused, by a program whose calls are not recorded": {`
			1 > S 100
			2 < RA 0 101
			3 destroyed`, "1 CLOSE>SYN_SENT|2 SYN_SENT>CLOSE reset"},
		"an RST to a SYN that acknowledges nothing": {`
			1 > S 100
			2 < R 101
			20 table SYN_SENT`, "1 CLOSE>SYN_SENT"},
		"no local port is left": {`
			3 call connect EADDRNOTAVAIL`, "3 CLOSE>SYN_SENT|3 SYN_SENT>CLOSE"},
		"no way there": {`
			3 call connect ENETUNREACH`, ""},
		"nobody answers": {`
			1 > S 100
			1001 > S 100
			9000 call connect ETIMEDOUT`, "1 CLOSE>SYN_SENT|9000 SYN_SENT>CLOSE"},
		"both ask": {`
			1 > S 100
			2 < S 500
			3 > SA 100 501
			4 < SA 500 101
			5 call connect 0`, "1 CLOSE>SYN_SENT|2 SYN_SENT>SYN_RECV|4 SYN_RECV>ESTABLISHED"},
		"a request that nothing shows to be one": {`
			1 < S 500
			2 > SA 100 501
			9000 table -`, ""},
		"a request in the table": {`
			1 < S 500
			2 > SA 100 501
			20 table SYN_RECV`, "1 LISTEN>SYN_RECV"},
		"a request that is answered again, and given up": {`
			1 < S 500
			2 > SA 100 501
			1002 > SA 100 501
			70000 table -`, "1 LISTEN>SYN_RECV|70000 SYN_RECV>CLOSE sockdiag timer"},
		"a SYN that comes again is no proof of a request": {`
			1 < S 500
			2 > SA 100 501
			1001 < S 500
			1002 > SA 100 501
			9000 table -`, ""},
		"the accept queue is full": {`
			1 < S 500
			2 > SA 100 501
			3 < A 501 101
			1002 > SA 100 501
			1003 < A 501 101
			1010 table ESTABLISHED`, "1 LISTEN>SYN_RECV|1003 SYN_RECV>ESTABLISHED"},
		"the last segment of the handshake is dropped": {`
			1 < S 500
			2 > SA 100 501
			3 < A 501 101
			20 table SYN_RECV`, "1 LISTEN>SYN_RECV"},
		"accepted, as the call says": {`
			1 < S 500
			2 > SA 100 501
			3 < A 501 101
			4 call accept 0`, servers},
		"reset before it was accepted": {`
			1 < S 500
			2 > SA 100 501
			3 < A 501 101
			4 < RA 501 101
			5 destroyed`, servers + "|4 ESTABLISHED>CLOSE reset"},
		"the listener closes before it was accepted": {`
			1 < S 500
			2 > SA 100 501
			3 < A 501 101
			4 > RA 101 501`, servers + "|4 ESTABLISHED>CLOSE"},
		"a reset": {connected + `
			10 < RA 501 101
			20 table -`, clients + "|10 ESTABLISHED>CLOSE reset"},
		"a reset that the program reads": {connected + `
			10 < RA 501 101
			20 call read ECONNRESET`, clients + "|10 ESTABLISHED>CLOSE reset"},
		"a reset with another number": {connected + `
			10 < RA 600 101
			11 > A 101 501
			20 table ESTABLISHED`, clients},
		"a reset with another number, and it is gone": {connected + `
			10 < RA 600 101
			20 table -`, clients + "|20 ESTABLISHED>CLOSE sockdiag"},
		"a reset that is dropped": {connected + `
			10 < RA 501 101
			20 > A 101 501 10
			30 table -`, clients + "|30 ESTABLISHED>CLOSE sockdiag"},
		"a reset behind a FIN": {connected + `
			10 < FA 501 101
			11 < RA 502 101
			20 table -`, clients + "|10 ESTABLISHED>CLOSE_WAIT|11 CLOSE_WAIT>CLOSE reset"},
		"a reset in place of a FIN that was dropped": {connected + `
			10 < FA 501 101
			11 < RA 501 101
			20 table -`, clients + "|11 ESTABLISHED>CLOSE reset"},
		"a reset in LAST_ACK": {connected + `
			10 < FA 501 101
			11 > FA 101 502
			12 < R 502
			20 table -`, clients + "|10 ESTABLISHED>CLOSE_WAIT|11 CLOSE_WAIT>LAST_ACK|12 LAST_ACK>CLOSE reset"},
		"linger 0": {connected + `
			10 > RA 101 501`, clients + "|10 ESTABLISHED>CLOSE"},
		"data after close()": {accepted + `
			10 > FA 111 501
			11 < A 501 112
			12 table FIN_WAIT2
			20 < A 501 112 5
			21 > R 112
			30 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>FIN_WAIT2|21 FIN_WAIT2>CLOSE killed"},
		"data after close(), with the acknowledgement of the FIN": {accepted + `
			10 > FA 111 501
			20 < A 501 112 5
			21 > R 112
			30 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|21 FIN_WAIT2>CLOSE"},
		"a reset in FIN_WAIT2": {accepted + `
			10 > FA 111 501
			11 < A 501 112
			12 table FIN_WAIT2
			20 < RA 501 112
			30 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>CLOSE reset"},
		"a reset in FIN_WAIT2, without a process": {accepted + `
			10 > FA 111 501
			11 < A 501 112
			12 table FIN_WAIT2
			13 destroyed
			20 < RA 501 112
			30 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>CLOSE killed"},
		"FIN_WAIT2 runs out": {accepted + `
			10 > FA 111 501
			11 < A 501 112
			12 table FIN_WAIT2
			13 destroyed
			70000 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>FIN_WAIT2|70000 FIN_WAIT2>CLOSE sockdiag timer"},
		"a FIN that meets no socket": {accepted + `
			10 > FA 111 501
			11 < A 501 112
			12 table FIN_WAIT2
			20 < FA 501 112
			21 > R 112
			30 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>FIN_WAIT2|30 FIN_WAIT2>CLOSE sockdiag"},
		"TIME_WAIT is taken over": {accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			30 < S 900
			31 > SA 300 901
			32 < A 901 301
			33 > A 301 901 1`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT|30 TIME_WAIT>CLOSE reused|" +
			"30 LISTEN>SYN_RECV|32 SYN_RECV>ESTABLISHED"},
		"TIME_WAIT is taken over by the own side": {connected + `
			10 > FA 101 501
			20 < FA 501 102
			21 > A 102 502
			1030 > S 900`, clients + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT|1030 TIME_WAIT>CLOSE reused|1030 CLOSE>SYN_SENT"},
		"TIME_WAIT does not take a SYN": {accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			30 < S 400
			31 > A 112 502
			40 table TIME_WAIT`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT"},
		"the FIN comes again in TIME_WAIT": {accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			220 < FA 501 112
			221 > A 112 502`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT"},
		"an RST ends TIME_WAIT": {accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			30 < R 502
			40 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT|30 TIME_WAIT>CLOSE killed"},
		"TIME_WAIT ends before its time": {accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			40 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT|40 TIME_WAIT>CLOSE sockdiag killed"},
		"an RST does not end TIME_WAIT": {`
			0 set net.ipv4.tcp_rfc1337=1` + accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			30 < R 502
			60040 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT|60040 TIME_WAIT>CLOSE sockdiag timer"},
		"there may be no room for a TIME_WAIT": {`
			0 set net.ipv4.tcp_max_tw_buckets=0` + accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			30 table -`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|30 FIN_WAIT2>CLOSE sockdiag"},
		"there was room for a TIME_WAIT": {`
			0 set net.ipv4.tcp_max_tw_buckets=0` + accepted + `
			10 > FA 111 501
			20 < FA 501 112
			21 > A 112 502
			30 table TIME_WAIT`, servers + "|10 ESTABLISHED>FIN_WAIT1|20 FIN_WAIT1>FIN_WAIT2|20 FIN_WAIT2>TIME_WAIT"},
		"tables alone": {`
			10 table ESTABLISHED
			20 table ESTABLISHED
			30 table TIME_WAIT
			31 destroyed
			40 table TIME_WAIT
			60050 table -`, "10 CLOSE>ESTABLISHED sockdiag|30 ESTABLISHED>TIME_WAIT sockdiag|60050 TIME_WAIT>CLOSE sockdiag timer"},
		"destroyed, and no segment was seen": {`
			10 table ESTABLISHED
			11 destroyed
			20 table TIME_WAIT`, "10 CLOSE>ESTABLISHED sockdiag|20 ESTABLISHED>TIME_WAIT sockdiag"},
		"destroyed, and segments were lost": {connected + `
			10 loss
			11 destroyed
			20 table TIME_WAIT`, clients + "|20 ESTABLISHED>TIME_WAIT sockdiag"},
		"destroyed": {connected + `
			11 destroyed`, clients + "|11 ESTABLISHED>CLOSE sockdiag"},
		"a table shows a state before its segment is sent": {connected + `
			10 table FIN_WAIT1
			20 > FA 101 501
			21 < A 501 102
			30 table FIN_WAIT2`, clients + "|10 ESTABLISHED>FIN_WAIT1 sockdiag|21 FIN_WAIT1>FIN_WAIT2"},
		"a socket that lost its connection is bound still": {connected + `
			10 < RA 501 101
			20 table BOUND`, clients + "|10 ESTABLISHED>CLOSE reset"},
		"a socket that becomes a minisocket while the table is read": {connected + `
			10 > FA 101 501
			11 < A 501 102
			20 table BOUND
			30 table FIN_WAIT2`, clients + "|10 ESTABLISHED>FIN_WAIT1|11 FIN_WAIT1>FIN_WAIT2"},
		"a listener": {`
			1 listen 0
			2 listen 0
			3 table -`, "1 CLOSE>LISTEN|3 LISTEN>CLOSE sockdiag"},
		"a listen that is refused": {`
			1 listen EADDRINUSE`, "1 CLOSE>LISTEN|1 LISTEN>CLOSE"},
		"in any order": {`
			21 < A 502 102
			30 table -
			3 > A 101 501
			20 > FA 101 502
			10 < FA 501 101
			2 < SA 500 101
			11 > A 101 502
			1 > S 100`, clients + "|10 ESTABLISHED>CLOSE_WAIT|20 CLOSE_WAIT>LAST_ACK|21 LAST_ACK>CLOSE"},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			if c.want != "" {
				want = strings.Split(c.want, "|")
			}
			if diff := cmp.Diff(want, play(t, c.script)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestName looks at when a transition is told, and of whom: its socket's cookie and
// the ends as the kernel writes them.
func TestName(t *testing.T) {
	h := New()
	for _, line := range []string{"1 > S 100", "2 < SA 500 101", "3 > A 101 501"} {
		feed(t, h, strings.Fields(line))
	}
	if early := h.Take(); len(early) > 0 {
		t.Errorf("told without a cookie: %v", early)
	}
	mapped := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	h.Add(moment(10, journal.Event{Sockets: &journal.Sockets{Rows: []journal.Socket{
		{Family: "tcp6", State: "ESTABLISHED", Local: mapped(here), Remote: mapped(there), Cookie: cookie}}}}))
	events := h.Take()
	if len(events) != 2 {
		t.Fatalf("%d transitions", len(events))
	}
	for _, e := range events {
		if s := e.State; s.Cookie != cookie || s.Local != mapped(here) || s.Remote != mapped(there) {
			t.Errorf("%+v", s)
		}
	}
}

// TestBound feeds more than is kept, without asking.
func TestBound(t *testing.T) {
	h := New()
	for i := range int64(3 * mostWaiting) {
		h.Add(moment(i, journal.Event{Loss: &journal.Loss{}}))
		if len(h.waiting) > mostWaiting {
			t.Fatalf("%d wait", len(h.waiting))
		}
	}
}
