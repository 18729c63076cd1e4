package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"restartlab/labctl/internal/cli"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

func TestMain(m *testing.M) {
	if code, ok := cli.Part(os.Args); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// run plays a scenario and returns its events, whose lab must pass.
func run(t testing.TB, text string) []journal.Event {
	t.Helper()
	refused := (*sandbox.Refused)(nil)
	if _, err := sandbox.Examine(); errors.As(err, &refused) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	s, err := scenario.Load("test.yaml", []byte(text), scenario.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	var events []journal.Event
	err = sandbox.Run(context.Background(), scenario.Plan{Labs: s.Labs}, journal.Header{Version: journal.Version}, &bytes.Buffer{},
		func(e journal.Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	end := events[len(events)-1].LabInfo
	if end == nil || end.Verdict != journal.Pass {
		t.Fatalf("the lab ends with %+v", end)
	}
	return events
}

const visit = `
name: visit
programs:
  app:     {host: server, server: {serve: greet}}
  visitor: {host: client, client: {address: %s}}
%s
steps:
  - start: app
  - run: visitor
  - netstat: server
`

// segments are those of a host in the order of their time.
func segments(events []journal.Event, host string) []journal.Event {
	some := slices.DeleteFunc(slices.Clone(events), func(e journal.Event) bool { return e.Segment == nil || e.Host != host })
	slices.SortStableFunc(some, func(a, b journal.Event) int { return int(a.T - b.T) })
	return some
}

// told is a segment as its sender may be known: "client SYN 0".
func told(e journal.Event) string {
	s := e.Segment
	who := "client"
	if s.From.Port() == 12500 {
		who = "server"
	}
	return fmt.Sprintf("%s %s %d", who, strings.Join(s.Flags, ","), s.Length)
}

// TestSegments reads a visit's segments: a handshake, the greeting, both FINs, as
// RFC 9293 has it, at both hosts, on the same clock as the system calls.
func TestSegments(t *testing.T) {
	for name, text := range map[string]string{
		"IPv4": fmt.Sprintf(visit, "server", ""),
		"IPv6": strings.Replace(fmt.Sprintf(visit, "'2001:db8:44::144'", ""), "serve: greet", "address: '::', serve: greet", 1),
	} {
		t.Run(name, func(t *testing.T) {
			events := run(t, text)
			call := func(name string) journal.Event {
				i := slices.IndexFunc(events, func(e journal.Event) bool { return e.Syscall != nil && e.Syscall.Name == name })
				if i < 0 {
					t.Fatalf("no call of %s", name)
				}
				return events[i]
			}
			begin, end := events[1], events[len(events)-1]
			if d := (end.LabInfo.Wall - end.T) - (begin.LabInfo.Wall - begin.T); d < -1e6 || d > 1e6 {
				t.Errorf("the clocks differ by %d ns more at the end", d)
			}
			stepEnd := slices.IndexFunc(events, func(e journal.Event) bool {
				return e.StepRun != nil && e.StepRun.Phase == journal.PhaseEnd && e.StepRun.Index == 2
			})
			for _, host := range []string{"server", "client"} {
				seen := segments(events, host)
				var words []string
				for _, e := range seen {
					s := e.Segment
					if out := told(e)[:6] == host; s.Out != out || s.Interface != "eth0" {
						t.Errorf("%s: %s on %s, out %v", host, told(e), s.Interface, s.Out)
					}
					if e.T != s.Wall-(begin.LabInfo.Wall-begin.T) {
						t.Errorf("%s: T %d, wall %d", host, e.T, s.Wall)
					}
					if e.Step != 2 {
						t.Errorf("%s: %s in step %d", host, told(e), e.Step)
					}
					words = append(words, told(e))
				}
				// Where an ACK may ride on something else, it is not asked for.
				want := []string{"client SYN 0", "server SYN,ACK 0", "client ACK 0", "server ACK,PSH 10"}
				if len(words) < 6 || !slices.Equal(words[:4], want) {
					t.Fatalf("%s saw %q, want at first %q", host, words, want)
				}
				fins := slices.DeleteFunc(slices.Clone(words), func(w string) bool { return !strings.Contains(w, "FIN") })
				if !slices.Equal(fins, []string{"server ACK,FIN 0", "client ACK,FIN 0"}) && !slices.Equal(fins, []string{"server ACK,FIN,PSH 0", "client ACK,FIN 0"}) {
					t.Errorf("%s saw the FINs %q in %q", host, fins, words)
				}
			}
			out, in := segments(events, "client")[0], segments(events, "server")[0]
			if in.T < out.T {
				t.Errorf("the SYN left at %d and arrived at %d", out.T, in.T)
			}
			connect := call("connect")
			if out.T < connect.Syscall.Start || in.T > connect.T {
				t.Errorf("the SYN left at %d and arrived at %d; connect lasted from %d to %d", out.T, in.T, connect.Syscall.Start, connect.T)
			}
			late := 0
			for _, e := range events[stepEnd:] {
				if e.Segment != nil && e.Segment.Length > 0 {
					late++
				}
				if e.Loss != nil {
					t.Errorf("lost: %+v", e.Loss)
				}
			}
			if late > 0 {
				t.Errorf("%d segments with data stand behind the end of the step in which they were sent", late)
			}
		})
	}
}

// TestOneHost has both ends on lo, where each segment is seen going out and
// coming in.
func TestOneHost(t *testing.T) {
	events := run(t, strings.Replace(fmt.Sprintf(visit, "server", "hosts: {server: {addresses: [192.168.44.144/24]}}"), "host: client", "host: server", 1))
	ways := map[bool]int{}
	for _, e := range segments(events, "server") {
		ways[e.Segment.Out]++
		if e.Segment.Interface != "lo" {
			t.Errorf("on %s", e.Segment.Interface)
		}
	}
	if ways[true] != ways[false] || ways[true] < 7 {
		t.Errorf("%d out, %d in", ways[true], ways[false])
	}
}

// TestNoSegments runs where AF_PACKET is refused: without CAP_NET_RAW.
func TestNoSegments(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: in a user namespace of one's own one has every capability")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip("needs setpriv, of util-linux")
	}
	dir := t.TempDir()
	labctl, report := filepath.Join(dir, "labctl"), filepath.Join(dir, "report")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", labctl, "restartlab/labctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command(setpriv, "--bounding-set=-net_raw", labctl, "run", "reuseaddr", "--report", report).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(filepath.Join(report, "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	const want = "segments are not recorded on host server: open an AF_PACKET socket: operation not permitted"
	if !strings.Contains(string(text), want) || strings.Contains(string(text), `"kind":"segment"`) {
		t.Errorf("the journal does not say %q:\n%s", want, text)
	}
	if _, err := os.Stat(filepath.Join(report, "capture.pcapng")); err == nil {
		t.Error("there is a capture.pcapng")
	}
}
