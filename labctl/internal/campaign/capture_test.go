package campaign_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
)

// fields are what is compared of a segment.
var fields = []string{"ip.src", "ipv6.src", "tcp.srcport", "ip.dst", "ipv6.dst", "tcp.dstport", "tcp.flags", "tcp.seq_raw", "tcp.ack_raw",
	"tcp.window_size_value", "tcp.len", "tcp.checksum.status"}

// read is what tshark reads of a file: a line for each segment.
func read(t testing.TB, file string, more ...string) []string {
	t.Helper()
	args := append([]string{"-n", "-r", file, "-o", "tcp.check_checksum:TRUE", "-T", "fields", "-E", "separator=|"}, more...)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(tool(t, "tshark"), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.String())
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// line is the same of a segment as the journal has it. Checksums are right; on lo
// the kernel makes none, which is not told.
func line(s *journal.Segment) string {
	var bits int
	for i, f := range []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} {
		if slices.Contains(s.Flags, f) {
			bits |= 1 << i
		}
	}
	four, six := [2]string{}, [2]string{}
	for i, a := range []string{s.From.Addr().String(), s.To.Addr().String()} {
		if s.From.Addr().Is4() {
			four[i] = a
		} else {
			six[i] = a
		}
	}
	return fmt.Sprintf("%s|%s|%d|%s|%s|%d|0x%04x|%d|%d|%d|%d", four[0], six[0], s.From.Port(), four[1], six[1], s.To.Port(),
		bits, s.Seq, s.Ack, s.Window, s.Length)
}

// playInto plays one item into the folder and returns its events.
func playInto(t testing.TB, one campaign.Item, folder string) []journal.Event {
	t.Helper()
	o := &outcome{reports: make([]*report.Report, 1), errs: make([]error, 1)}
	code := campaign.Run(context.Background(), []campaign.Item{one}, campaign.Options{Folder: folder, Labctl: "test", Now: time.Now}, o)
	if code != campaign.OK || o.errs[0] != nil {
		t.Fatalf("exit code %d: %v", code, o.errs[0])
	}
	f, err := os.Open(filepath.Join(folder, campaign.JournalFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, err := journal.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// TestCaptureFile compares the segments in the journals of the article's scenarios with
// what tshark reads of their capture.pcapng: number, order and all fields. Then
// it writes the file again from the journal alone.
func TestCaptureFile(t *testing.T) {
	need(t)
	tool(t, "tshark")
	for _, one := range article(t) {
		if one.Name == "timewait" { // a minute for nothing more
			continue
		}
		t.Run(one.Name, func(t *testing.T) {
			t.Parallel()
			folder := filepath.Join(t.TempDir(), "report")
			events := playInto(t, one, folder)
			file := filepath.Join(folder, campaign.CaptureFile)
			var segments []journal.Event
			for _, e := range events {
				if e.Loss != nil {
					t.Errorf("lost: %+v", e.Loss)
				}
				if e.Segment != nil {
					segments = append(segments, e)
				}
			}
			slices.SortStableFunc(segments, func(a, b journal.Event) int { return int(a.Segment.Wall - b.Segment.Wall) })
			var want []string
			for _, e := range segments {
				checked := "|1" // good
				if e.Segment.Interface == "lo" {
					checked = ""
				}
				want = append(want, line(e.Segment)+checked)
			}
			var got []string
			if len(want) > 0 {
				got = read(t, file)
			}
			for i := range got {
				if segments[min(i, len(segments)-1)].Segment.Interface == "lo" {
					got[i] = got[i][:strings.LastIndex(got[i], "|")]
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("tshark reads %d segments:\n%s\nthe journal has %d:\n%s", len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
			}
			t.Logf("%d segments compared", len(want))

			once, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(filepath.Join(folder, campaign.JournalFile))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			again := t.TempDir()
			if _, err := campaign.Render(f, again); err != nil {
				t.Fatal(err)
			}
			twice, err := os.ReadFile(filepath.Join(again, campaign.CaptureFile))
			if err != nil || !bytes.Equal(once, twice) {
				t.Errorf("the file rendered again differs (%v)", err)
			}
		})
	}
}
