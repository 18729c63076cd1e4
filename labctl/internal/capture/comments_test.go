package capture

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

// TestComments puts changes of state to the segments that they go with.
func TestComments(t *testing.T) {
	server, client := netip.MustParseAddrPort("10.0.0.1:12500"), netip.MustParseAddrPort("10.0.0.2:40112")
	mapped := netip.MustParseAddrPort("[::ffff:10.0.0.1]:12500")
	const ms = int64(1e6)
	var segments []journal.Event
	for i, s := range []struct {
		host     string
		out      bool
		from, to netip.AddrPort
	}{
		{"client", true, client, server},  // 0: SYN
		{"server", false, client, server}, // 1
		{"server", true, server, client},  // 2: SYN, ACK
		{"client", false, server, client}, // 3
		{"client", true, client, server},  // 4: ACK
		{"server", false, client, server}, // 5
		{"server", true, server, client},  // 6: FIN
		{"client", false, server, client}, // 7
	} {
		segments = append(segments, journal.Event{T: int64(i+1) * 10 * ms, Step: 1 + i/4, Host: s.host, Segment: &journal.Segment{Out: s.out, From: s.from, To: s.to}})
	}
	change := func(n int, t int64, host string, local, remote netip.AddrPort, s journal.State) journal.Event {
		s.Local, s.Remote = local, remote
		return journal.Event{N: n, T: t * ms, Host: host, State: &s}
	}
	events := append([]journal.Event{
		{StepRun: &journal.Step{Phase: journal.PhaseBegin, Index: 1, ID: "visit"}},
		{StepRun: &journal.Step{Phase: journal.PhaseBegin, Index: 2, ID: "close", Title: journal.Text{EN: "The server closes"}}},
		change(20, 9, "client", client, server, journal.State{From: "CLOSE", To: "SYN_SENT", Source: "kernel"}),
		change(21, 21, "server", mapped, client, journal.State{From: "LISTEN", To: "SYN_RECV", Source: "kernel"}),
		change(22, 41, "client", client, server, journal.State{From: "SYN_SENT", To: "ESTABLISHED", Source: "inferred"}),
		change(23, 69, "server", mapped, client, journal.State{From: "ESTABLISHED", To: "FIN_WAIT1", Source: "kernel"}),
		change(24, 60_060, "server", mapped, client, journal.State{From: "TIME_WAIT", To: "CLOSE", Source: "kernel", Why: "timer"}),
		change(25, 5, "server", server, netip.AddrPort{}, journal.State{From: "CLOSE", To: "LISTEN", Source: "kernel"}),
		change(26, 200, "client", client, server, journal.State{From: "CLOSE_WAIT", To: "LAST_ACK", Source: "kernel"}),
	}, segments...)
	got := comments(events, segments)
	want := map[int][]string{
		0: {"step 1: visit", "client: CLOSE -> SYN_SENT (#20)"},
		1: {"server: LISTEN -> SYN_RECV (#21)"},
		3: {"client: SYN_SENT -> ESTABLISHED (inferred, #22)"},
		4: {"step 2: The server closes"},
		5: {"server, 60.000 s later: TIME_WAIT -> CLOSE (timer, #24)"},
		6: {"server: ESTABLISHED -> FIN_WAIT1 (#23)"},
		7: {"client, 120.000 ms later: CLOSE_WAIT -> LAST_ACK (#26)"}, // whose FIN was not recorded
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestManyComments writes no more at one segment than a reader takes in.
func TestManyComments(t *testing.T) {
	events := recorded(t)
	at := netip.MustParseAddrPort("10.0.0.1:1")
	for i := range events {
		if s := events[i].Segment; s != nil {
			s.From, s.To = at, at
		}
	}
	for range 1000 {
		events = append(events, journal.Event{Host: "server", State: &journal.State{Local: at, Remote: at, From: strings.Repeat("s", 5000)}})
	}
	var b strings.Builder
	if err := WritePcapng(&b, events); err != nil {
		t.Fatal(err)
	}
	whole(t, []byte(b.String()))
	if n := strings.Count(b.String(), "server: sss"); n != mostComments {
		t.Errorf("%d comments, want %d", n, mostComments)
	}
}
