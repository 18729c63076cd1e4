package report

import (
	"bytes"
	"encoding/json"
	"io"
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

// TestLosses looks for what was lost in the line of the verdict, in every format.
func TestLosses(t *testing.T) {
	r, err := Build([]journal.Event{
		{N: 1, Kind: journal.KindHeader, Header: &journal.Header{Version: journal.Version, Scenario: journal.Scenario{Name: "lossy"}}},
		{N: 2, T: 10, Lab: "l", Kind: journal.KindLab, LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Steps: 1}},
		{N: 3, T: 20, Lab: "l", Step: 1, Kind: journal.KindStep, StepRun: &journal.Step{Phase: journal.PhaseEnd, Index: 1, ID: "visit", Verdict: journal.Pass}},
		{N: 4, T: 30, Lab: "l", Kind: journal.KindLoss, Host: "client", Loss: &journal.Loss{Observer: "capture", Count: 12}},
		{N: 5, T: 40, Lab: "l", Kind: journal.KindLoss, Host: "server", Loss: &journal.Loss{Observer: "trace", Count: 1}},
		{N: 6, T: 50, Lab: "l", Kind: journal.KindLab, LabInfo: &journal.Lab{Phase: journal.PhaseEnd, Verdict: journal.Pass}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const lost = "13 events lost by the observers"
	for name, write := range map[string]func(io.Writer) error{
		"; " + lost + ".":           func(w io.Writer) error { return Markdown(w, r) },
		"; " + lost + "</span></p>": func(w io.Writer) error { return HTML(w, r) },
		"<system-err>" + lost + ": the report has gaps</system-err>": func(w io.Writer) error { return JUnit(w, r) },
		"\n# " + lost + ": the report has gaps\n":                    func(w io.Writer) error { return TAP(w, r) },
	} {
		var b bytes.Buffer
		if err := write(&b); err != nil || !strings.Contains(b.String(), name) {
			t.Errorf("no %q (%v) in\n%s", name, err, b.String())
		}
	}
}
