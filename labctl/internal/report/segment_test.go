package report

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"restartlab/labctl/internal/journal"
)

// TestSegments lists segments where they belong in time, wherever they stand in
// the journal, and says how many there were and how many were lost.
func TestSegments(t *testing.T) {
	segment := &journal.Segment{Interface: "eth0", Out: true, From: netip.MustParseAddrPort("192.168.44.145:40112"),
		To: netip.MustParseAddrPort("192.168.44.144:12500"), Flags: []string{"SYN", "ACK"}, Seq: 7, Ack: 9, Window: 64240, Options: []string{"mss 1460", "sackOK"}}
	bare := *segment
	bare.Out, bare.Flags, bare.Options, bare.Length = false, nil, nil, 3
	var lines bytes.Buffer
	for _, e := range []journal.Event{
		{N: 1, Kind: journal.KindHeader, Header: &journal.Header{Version: journal.Version}},
		{N: 2, T: 10, Lab: "l", Kind: journal.KindLab, LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Steps: 1}},
		{N: 3, T: 20, Lab: "l", Kind: journal.KindHost, Host: "client", Change: &journal.Change{What: "up", Interface: "eth0", Segments: true}},
		{N: 4, T: 30, Lab: "l", Step: 1, Kind: journal.KindStep, StepRun: &journal.Step{Phase: journal.PhaseBegin, Index: 1, ID: "visit"}},
		{N: 5, T: 90, Lab: "l", Step: 1, Kind: journal.KindNote, Note: &journal.Note{Text: "later"}},
		{N: 6, T: 40, Lab: "l", Step: 1, Kind: journal.KindSegment, Host: "client", Segment: segment},
		{N: 7, T: 40, Lab: "l", Step: 1, Kind: journal.KindSegment, Host: "client", Segment: &bare},
		{N: 8, T: 95, Lab: "l", Step: 1, Kind: journal.KindLoss, Host: "client", Loss: &journal.Loss{Observer: "capture", Count: 12}},
	} {
		if err := json.NewEncoder(&lines).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	events, err := journal.ReadAll(&lines)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Build(events)
	if err != nil {
		t.Fatal(err)
	}
	var order []int
	var words []string
	for _, e := range r.Events {
		order = append(order, e.N)
		words = append(words, e.Text)
	}
	if !slices.Equal(order, []int{2, 3, 4, 6, 7, 5, 8}) {
		t.Errorf("the events are listed as %v", order)
	}
	for i, want := range map[int]string{
		3: "eth0 out 192.168.44.145:40112 -> 192.168.44.144:12500 SYN,ACK seq 7 ack 9 win 64240 len 0 [mss 1460, sackOK]",
		4: "eth0 in 192.168.44.145:40112 -> 192.168.44.144:12500 no flags seq 7 win 64240 len 3",
		6: "12 events of the observer capture are lost",
	} {
		if words[i] != want {
			t.Errorf("%q, want %q", words[i], want)
		}
	}
	for _, row := range r.environment() {
		if row[0] == "recorded" && !strings.Contains(row[1], "2 segments at eth0 of client; no state changes but those in the tables; 12 events lost") {
			t.Errorf("recorded: %s", row[1])
		}
	}
}
