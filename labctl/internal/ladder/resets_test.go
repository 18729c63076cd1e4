package ladder

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"restartlab/labctl/internal/journal"
)

// TestResets draws RSTs of a closed port, of a listener and of a socket that was
// given up, and those that are taken.
func TestResets(t *testing.T) {
	server, client := netip.MustParseAddrPort("192.168.44.144:12500"), netip.MustParseAddrPort("192.168.44.145:40112")
	up := func(n int, host string) journal.Event {
		return journal.Event{N: n, T: int64(n), Host: host, Kind: journal.KindHost, Change: &journal.Change{What: "up"}}
	}
	reset := func(n int, host string, r journal.Reset) journal.Event {
		return journal.Event{N: n, T: int64(n), Host: host, Kind: journal.KindReset, Reset: &r}
	}
	l := Build([]journal.Event{
		{N: 1, Kind: journal.KindHeader, Header: &journal.Header{}},
		up(2, "server"), up(3, "client"),
		reset(4, "server", journal.Reset{Sent: true, Local: server, Remote: client, Reason: "NO_SOCKET"}),
		reset(5, "client", journal.Reset{Cookie: 9, Local: client, Remote: server, State: "SYN_SENT"}),
		reset(6, "server", journal.Reset{Sent: true, Cookie: 7, Local: server, Remote: client, State: "LISTEN"}),
		reset(7, "server", journal.Reset{Sent: true, Cookie: 8, Local: server, Remote: client, State: "CLOSE", Reason: "TCP_STATE"}),
	})
	var got []string
	for _, r := range l.Rows {
		got = append(got, r.Text+" | "+r.Detail)
	}
	want := []string{
		"server answers with an RST: NO_SOCKET | 192.168.44.144:12500 → 192.168.44.145:40112, source: kernel",
		"s1 takes an RST | 192.168.44.145:40112 → 192.168.44.144:12500, source: kernel, in SYN_SENT",
		"s2 sends an RST | 192.168.44.144:12500 → 192.168.44.145:40112, source: kernel, in LISTEN",
		"s3 sends an RST: TCP_STATE | 192.168.44.144:12500 → 192.168.44.145:40112, source: kernel, in CLOSE",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("rows:\n%s", strings.Join(got, "\n"))
	}
	if l.Sockets[1].Remote.IsValid() {
		t.Errorf("the listener has a peer: %v", l.Sockets[1].Remote)
	}
	var svg, text bytes.Buffer
	if err := l.SVG(&svg); err != nil || !strings.Contains(svg.String(), `class="r reset"`) {
		t.Errorf("no row of a reset in the SVG (%v)", err)
	}
	if err := l.Text(&text); err != nil || !strings.Contains(text.String(), "s1 takes an RST") {
		t.Errorf("no reset in the text (%v):\n%s", err, text.String())
	}
}
