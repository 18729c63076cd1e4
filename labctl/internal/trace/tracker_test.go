package trace

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

var (
	serverEnd = netip.MustParseAddrPort("192.168.44.144:12500")
	clientEnd = netip.MustParseAddrPort("192.168.44.145:40112")
	mapped    = netip.MustParseAddrPort("[::ffff:192.168.44.144]:12500")
	mappedTo  = netip.MustParseAddrPort("[::ffff:192.168.44.145]:40112")
)

// of is a record of the server's end of the connection.
func of(t int64, k kind, object, cookie uint64, from, to uint8) record {
	return record{time: t, kind: k, object: object, cookie: cookie, from: from, to: to, local: serverEnd, remote: clientEnd}
}

// closedFirst is what the kernel tells of a server's connection, from the SYN to
// the end of TIME_WAIT: in this order on Linux 6.18.
func closedFirst() []record {
	clone := of(12, stateChanged, 0xa, 0, listening, synRecv)
	clone.remote = netip.AddrPort{}
	birth := of(50, waitStarted, 0xb, 7, finWait2, finWait2)
	birth.left = 15360
	end := of(51, stateChanged, 0xa, 7, finWait2, closed)
	return []record{
		of(10, requestStarted, 0xf, 0, none, none),
		clone,
		of(13, requestCancelled, 0xf, 0, none, none),
		of(14, stateChanged, 0xa, 7, synRecv, established),
		of(20, stateChanged, 0xa, 7, established, finWait1),
		of(30, stateChanged, 0xa, 7, finWait1, finWait2),
		birth,
		end,
		of(60, waitSegment, 0xb, 7, timeWait, timeWait),
		of(70, waitCancelled, 0xb, 7, timeWait, timeWait),
		of(71, waitExpired, 0xb, 7, timeWait, timeWait),
	}
}

// replace returns the records with those from the place at on replaced.
func replace(records []record, at int, with ...record) []record {
	return append(slices.Clone(records[:at]), with...)
}

func with(r record, f func(*record)) record {
	f(&r)
	return r
}

func row(state string, cookie uint64, local, remote netip.AddrPort) journal.Socket {
	return journal.Socket{State: state, Cookie: cookie, Local: local, Remote: remote}
}

func TestTracker(t *testing.T) {
	handshake := []string{"10 LISTEN->SYN_RECV", "14 SYN_RECV->ESTABLISHED"}
	untilWait := append(slices.Clone(handshake), "20 ESTABLISHED->FIN_WAIT1", "30 FIN_WAIT1->FIN_WAIT2")
	waiting := append(slices.Clone(untilWait), "60 FIN_WAIT2->TIME_WAIT due 61440000050")
	and := func(lines []string, more ...string) []string { return append(slices.Clone(lines), more...) }
	port := func(p uint16) func(*record) {
		return func(r *record) {
			r.local, r.remote = netip.AddrPortFrom(clientEnd.Addr(), p), serverEnd
		}
	}
	life := closedFirst()
	for name, c := range map[string]struct {
		records []record
		rows    []journal.Socket // the table at the end, nil if it is not read
		blind   bool
		want    []string
		open    bool // something is unsettled before the table is read
	}{
		"a server's connection, to the end": {records: life, want: and(waiting, "71 TIME_WAIT->CLOSE timer")},
		"TIME_WAIT at once": {
			records: replace(life, 6, with(of(50, waitStarted, 0xb, 7, timeWait, timeWait), func(r *record) { r.left = 1 }),
				of(51, stateChanged, 0xa, 7, finWait2, closed)),
			want: and(untilWait, "50 FIN_WAIT2->TIME_WAIT due 4000050"),
		},
		"both at once": {
			records: replace(life, 5, of(30, stateChanged, 0xa, 7, finWait1, closing), of(50, waitStarted, 0xb, 7, timeWait, timeWait),
				of(51, stateChanged, 0xa, 7, closing, closed)),
			want: and(handshake, "20 ESTABLISHED->FIN_WAIT1", "30 FIN_WAIT1->CLOSING", "50 CLOSING->TIME_WAIT"),
		},
		"FIN meets the minisocket before its birth is told": {
			records: replace(life, 7, of(51, waitSegment, 0xb, 7, timeWait, timeWait), of(52, stateChanged, 0xa, 7, finWait2, closed)),
			want:    and(untilWait, "51 FIN_WAIT2->TIME_WAIT due 61440000050"),
		},
		"armed anew, in another bucket": {
			records: replace(life, 8, of(60, waitCancelled, 0xb, 7, timeWait, timeWait),
				with(of(61, waitStarted, 0xb, 7, timeWait, timeWait), func(r *record) { r.left = 2 }), of(62, waitSegment, 0xb, 7, timeWait, timeWait)),
			want: and(untilWait, "61 FIN_WAIT2->TIME_WAIT due 8000061"),
		},
		"FIN_WAIT2 runs out": {
			records: replace(life, 8, of(70, waitCancelled, 0xb, 7, finWait2, finWait2), of(71, waitExpired, 0xb, 7, finWait2, finWait2)),
			want:    and(untilWait, "71 FIN_WAIT2->CLOSE timer"),
		},
		"freed before its time": {
			records: life[:10], open: true, rows: []journal.Socket{row("LISTEN", 1, serverEnd, netip.AddrPort{})},
			want: and(waiting, "70 TIME_WAIT->CLOSE killed"),
		},
		"perhaps freed": {records: life[:10], open: true, want: waiting},
		"armed anew, as the table shows": {
			records: life[:10], open: true, rows: []journal.Socket{row("TIME_WAIT", 7, serverEnd, clientEnd)}, want: waiting,
		},
		"cancelled after the table was read": {
			records: replace(life, 9, of(1000, waitCancelled, 0xb, 7, timeWait, timeWait)), open: true, rows: []journal.Socket{}, want: waiting,
		},
		"its place is taken by a new handshake": {
			records: replace(life, 10, of(80, requestStarted, 0xe, 0, none, none)), open: true,
			want: and(waiting, "70 TIME_WAIT->CLOSE reused"),
		},
		"its memory is another's": {
			records: replace(life, 10, of(80, waitStarted, 0xb, 8, timeWait, timeWait)),
			want:    and(waiting, "70 TIME_WAIT->CLOSE killed"),
		},
		"no room for a TIME_WAIT": {
			records: replace(life, 6, of(51, stateChanged, 0xa, 7, finWait2, closed)), want: and(untilWait, "51 FIN_WAIT2->CLOSE"),
		},
		"before Linux 6.11, seen in the table": {
			records: life[:8], blind: true, open: true, rows: []journal.Socket{row("TIME_WAIT", 7, serverEnd, clientEnd)},
			want: and(untilWait, "500 FIN_WAIT2->TIME_WAIT due 61440000050 sockdiag"),
		},
		"before Linux 6.11, seen at its end": {
			records: append(slices.Clone(life[:8]), life[9:]...), blind: true,
			want: and(untilWait, "71 FIN_WAIT2->TIME_WAIT due 61440000050 sockdiag", "71 TIME_WAIT->CLOSE timer"),
		},
		"SYN cookies": {records: life[1:4], want: []string{"12 LISTEN->SYN_RECV", "14 SYN_RECV->ESTABLISHED"}},
		"a handshake under way": {
			records: life[:1], open: true, rows: []journal.Socket{row("SYN_RECV", 7, serverEnd, clientEnd)}, want: []string{"10 LISTEN->SYN_RECV"},
		},
		"a handshake given up": {
			records: []record{life[0], of(20, requestCancelled, 0xf, 0, none, none), of(21, requestExpired, 0xf, 0, none, none),
				of(22, requestStarted, 0xf, 0, none, none), of(40, requestCancelled, 0xf, 0, none, none), of(41, requestExpired, 0xf, 0, none, none)},
			open: true, rows: []journal.Socket{}, want: []string{"10 LISTEN->SYN_RECV of 0", "40 SYN_RECV->CLOSE timer of 0"},
		},
		"a handshake reset": {
			records: []record{life[0], life[2]}, open: true, rows: []journal.Socket{}, want: []string{"10 LISTEN->SYN_RECV of 0", "13 SYN_RECV->CLOSE of 0"},
		},
		"an IPv6 listener's IPv4 child": {
			records: []record{life[0], life[1], with(life[3], func(r *record) { r.local, r.remote = mapped, mappedTo })},
			want:    handshake,
		},
		"a client": {
			records: []record{
				with(of(1, stateChanged, 0xc, 7, closed, synSent), port(0)),
				with(of(2, stateChanged, 0xc, 7, synSent, established), port(40112)),
				with(of(3, stateChanged, 0xc, 7, established, closeWait), port(40112)),
				with(of(4, stateChanged, 0xc, 7, closeWait, lastAck), port(40112)),
				with(of(5, stateChanged, 0xc, 7, lastAck, closed), port(0)),
			},
			want: []string{"1 CLOSE->SYN_SENT", "2 SYN_SENT->ESTABLISHED", "3 ESTABLISHED->CLOSE_WAIT", "4 CLOSE_WAIT->LAST_ACK", "5 LAST_ACK->CLOSE"},
		},
		"a client that is refused": {
			records: []record{
				with(of(1, stateChanged, 0xc, 7, closed, synSent), port(0)),
				with(of(2, resetReceived, 0xc, 7, synSent, synSent), port(40112)),
				with(of(3, stateChanged, 0xc, 7, synSent, closed), port(40112)),
			},
			want: []string{"1 CLOSE->SYN_SENT", "3 SYN_SENT->CLOSE reset"},
		},
		"a client that waits": {
			records: []record{with(of(1, stateChanged, 0xc, 7, closed, synSent), port(0))}, open: true,
			rows: []journal.Socket{row("SYN_SENT", 7, clientEnd, serverEnd)}, want: []string{"1 CLOSE->SYN_SENT"},
		},
		"both connect": {
			records: []record{of(1, stateChanged, 0xc, 7, closed, synSent), of(2, stateChanged, 0xc, 7, synSent, synRecv), of(3, stateChanged, 0xc, 7, synRecv, established)},
			want:    []string{"1 CLOSE->SYN_SENT", "2 SYN_SENT->SYN_RECV", "3 SYN_RECV->ESTABLISHED"},
		},
		"reset while established": {
			records: append(slices.Clone(life[:4]), of(20, resetReceived, 0xa, 7, established, established), of(21, stateChanged, 0xa, 7, established, closed)),
			want:    and(handshake, "21 ESTABLISHED->CLOSE reset"),
		},
		"a listener": {
			records: []record{of(1, stateChanged, 0xd, 7, closed, listening), of(2, stateChanged, 0xd, 7, listening, closed)},
			want:    []string{"1 CLOSE->LISTEN", "2 LISTEN->CLOSE"},
		},
		"lost beginnings": {records: life[9:], want: nil},
	} {
		t.Run(name, func(t *testing.T) {
			k := newTracker(4_000_000, c.blind)
			var told []transition
			for _, r := range c.records {
				told = append(told, k.add(r)...)
			}
			if k.unsettled() != c.open {
				t.Errorf("unsettled %v, want %v", !c.open, c.open)
			}
			if c.rows != nil {
				told = append(told, k.settle(c.rows, 500)...)
			}
			inOrder(told)
			var got []string
			for _, s := range told {
				line := fmt.Sprintf("%d %s->%s", s.t, s.From, s.To)
				if s.Due != 0 {
					line += fmt.Sprintf(" due %d", s.Due)
				}
				if s.Source != journal.SourceKernel {
					line += " " + s.Source
				}
				if s.Why != "" {
					line += " " + s.Why
				}
				if s.Cookie != 7 {
					line += fmt.Sprintf(" of %d", s.Cookie)
				}
				got = append(got, line)
				if e := endsOf(s.Local, s.Remote); e != (ends{serverEnd, clientEnd}) && e != (ends{clientEnd, serverEnd}) {
					t.Errorf("%s: between %v and %v", line, s.Local, s.Remote)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("told\n%s\n%s", strings.Join(got, "\n"), diff)
			}
		})
	}
}
