package report

import (
	"net/netip"
	"testing"

	"restartlab/labctl/internal/journal"
)

func TestStateText(t *testing.T) {
	local, remote := netip.MustParseAddrPort("192.168.44.144:12500"), netip.MustParseAddrPort("192.168.44.145:40112")
	for _, c := range []struct {
		state journal.State
		want  string
	}{
		{journal.State{Local: local, From: "CLOSE", To: "LISTEN", Source: journal.SourceKernel},
			"192.168.44.144:12500 goes CLOSE -> LISTEN"},
		{journal.State{Local: local, Remote: remote, From: "FIN_WAIT2", To: "TIME_WAIT", Source: journal.SourceKernel, Due: 61_440_000_000},
			"192.168.44.144:12500 -> 192.168.44.145:40112 goes FIN_WAIT2 -> TIME_WAIT (due at +61.440 s)"},
		{journal.State{Local: local, Remote: remote, From: "TIME_WAIT", To: "CLOSE", Source: journal.SourceKernel, Why: "timer"},
			"192.168.44.144:12500 -> 192.168.44.145:40112 goes TIME_WAIT -> CLOSE, its time being over"},
		{journal.State{Local: local, Remote: remote, From: "ESTABLISHED", To: "CLOSE", Source: journal.SourceInferred, Why: "reset"},
			"192.168.44.144:12500 -> 192.168.44.145:40112 goes ESTABLISHED -> CLOSE, by the peer's RST (inferred)"},
		{journal.State{Local: local, Remote: remote, From: "FIN_WAIT2", To: "TIME_WAIT", Source: journal.SourceDiag},
			"192.168.44.144:12500 -> 192.168.44.145:40112 goes FIN_WAIT2 -> TIME_WAIT (seen in the socket table: it was before)"},
	} {
		if got := text(journal.Event{Kind: journal.KindState, State: &c.state}); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
	if got := text(journal.Event{Kind: journal.KindLoss, Loss: &journal.Loss{Observer: "trace", Count: 2}}); got != "2 events of the observer trace are lost" {
		t.Error(got)
	}
}

func TestResetText(t *testing.T) {
	local, remote := netip.MustParseAddrPort("192.168.44.144:12500"), netip.MustParseAddrPort("192.168.44.145:40112")
	for _, c := range []struct {
		reset journal.Reset
		want  string
	}{
		{journal.Reset{Sent: true, Local: local, Remote: remote, Reason: "NO_SOCKET"},
			"192.168.44.144:12500 -> 192.168.44.145:40112 sends an RST (NO_SOCKET), there is no socket"},
		{journal.Reset{Sent: true, Local: local, Remote: remote, Cookie: 7, State: "CLOSE"},
			"192.168.44.144:12500 -> 192.168.44.145:40112 sends an RST, the socket being closed"},
		{journal.Reset{Sent: true, Local: local, Remote: remote, Cookie: 7, State: "LISTEN", Reason: "TCP_FLAGS"},
			"192.168.44.144:12500 -> 192.168.44.145:40112 sends an RST (TCP_FLAGS) in LISTEN"},
		{journal.Reset{Local: remote, Remote: local, Cookie: 9, State: "SYN_SENT"},
			"192.168.44.145:40112 -> 192.168.44.144:12500 takes an RST in SYN_SENT"},
	} {
		if got := text(journal.Event{Kind: journal.KindReset, Reset: &c.reset}); got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
}
