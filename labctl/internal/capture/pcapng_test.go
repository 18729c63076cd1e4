package capture

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"restartlab/labctl/internal/journal"
)

// recorded is a journal of two hosts, of whose segments one came up late.
func recorded(t testing.TB) []journal.Event {
	from, to := netip.MustParseAddrPort("10.0.0.2:40112"), netip.MustParseAddrPort("10.0.0.1:12500")
	segment := func(host string, out bool, wall int64, text string) journal.Event {
		from, to := from, to
		if text == synAck {
			from, to = to, from
		}
		b := frame(t, text)
		return journal.Event{Kind: journal.KindSegment, Host: host, Step: 2,
			Segment: &journal.Segment{Interface: "eth0", From: from, To: to, Out: out, Wall: wall, Frame: b, Size: len(b)}}
	}
	up := func(host string) journal.Event {
		return journal.Event{Kind: journal.KindHost, Host: host, Change: &journal.Change{What: "up", Interface: "eth0", Segments: true}}
	}
	const start = 1_795_423_060_965_882_600
	return []journal.Event{
		{Kind: journal.KindHeader, Header: &journal.Header{Labctl: "v1", Scenario: journal.Scenario{Name: "visit"}, Machine: journal.Machine{Kernel: "6.1", Arch: "x86_64"}}},
		up("server"), up("client"),
		{Kind: journal.KindStep, Step: 2, StepRun: &journal.Step{Phase: journal.PhaseBegin, Index: 2, ID: "run visitor"}},
		segment("client", true, start+1, syn4),
		segment("client", false, start+4, synAck),
		segment("server", false, start+2, syn4),
		segment("server", true, start+3, synAck),
		{N: 9, Kind: journal.KindState, Host: "server", State: &journal.State{Local: to, Remote: from, From: "LISTEN", To: "SYN_RECV", Source: journal.SourceKernel}},
	}
}

func TestWritePcapng(t *testing.T) {
	events := recorded(t)
	var once, twice bytes.Buffer
	for _, b := range []*bytes.Buffer{&once, &twice} {
		if err := WritePcapng(b, events); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(once.Bytes(), twice.Bytes()) {
		t.Error("two files of the same events differ")
	}
	tshark, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("needs tshark to read the file with")
	}
	file := filepath.Join(t.TempDir(), "capture.pcapng")
	if err := os.WriteFile(file, once.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(tshark, "-r", file, "-T", "fields", "-E", "separator=|", "-e", "frame.time_epoch", "-e", "frame.interface_name",
		"-e", "frame.packet_flags_direction", "-e", "tcp.flags.str", "-e", "tcp.checksum.status", "-e", "frame.comment", "-o", "tcp.check_checksum:TRUE")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	want := `1795423060.965882601|client eth0|0x00000002|··········S·|1|step 2: run visitor
1795423060.965882602|server eth0|0x00000001|··········S·|1|server: LISTEN -> SYN_RECV (#9)
1795423060.965882603|server eth0|0x00000002|·······A··S·|1|
1795423060.965882604|client eth0|0x00000001|·······A··S·|1|
`
	if string(out) != want {
		t.Errorf("tshark reads\n%swant\n%s", out, want)
	}
}

// TestNoSegments has nothing to write.
func TestNoSegments(t *testing.T) {
	events := []journal.Event{{Kind: journal.KindHeader, Header: &journal.Header{}},
		{Kind: journal.KindHost, Host: "server", Change: &journal.Change{What: "up", Interface: "eth0"}}}
	if Recorded(events) {
		t.Error("segments are said to be recorded")
	}
	if err := WritePcapng(&bytes.Buffer{}, events); err == nil {
		t.Error("no error")
	}
}

// TestWritePcapngHostile writes what no capture made: a journal may have been
// edited.
func TestWritePcapngHostile(t *testing.T) {
	long := strings.Repeat("\xff", 100_000)
	events := slices.Concat([]journal.Event{{Kind: journal.KindHeader, Header: &journal.Header{Labctl: long, Scenario: journal.Scenario{Name: long}}}},
		[]journal.Event{
			{Kind: journal.KindSegment, Host: long, Segment: &journal.Segment{Frame: make([]byte, 70_000), Size: -1, Wall: math.MinInt64}},
			{Kind: journal.KindSegment, Segment: &journal.Segment{Size: math.MaxInt64, Wall: math.MaxInt64}},
			{Kind: journal.KindStep, StepRun: &journal.Step{Phase: journal.PhaseBegin, ID: long}},
		})
	var b bytes.Buffer
	if err := WritePcapng(&b, events); err != nil {
		t.Fatal(err)
	}
	whole(t, b.Bytes())
}

func FuzzWritePcapng(f *testing.F) {
	for _, e := range recorded(f) {
		line, err := json.Marshal(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var e journal.Event
		if json.Unmarshal(line, &e) != nil {
			t.Skip("not an event")
		}
		events := append(recorded(t), e)
		var b bytes.Buffer
		if err := WritePcapng(&b, events); err != nil {
			t.Fatal(err)
		}
		whole(t, b.Bytes())
	})
}

// whole fails unless the bytes are blocks, each between two equal lengths.
func whole(t *testing.T, b []byte) {
	t.Helper()
	for len(b) > 0 {
		if len(b) < 12 {
			t.Fatalf("%d bytes are left", len(b))
		}
		n := int(le.Uint32(b[4:]))
		if n < 12 || n%4 != 0 || n > len(b) || int(le.Uint32(b[n-4:])) != n {
			t.Fatalf("a block of %d bytes, of %d that are left", n, len(b))
		}
		b = b[n:]
	}
}
