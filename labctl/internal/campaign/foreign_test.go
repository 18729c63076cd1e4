package campaign_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/trace"
)

// sideBySide is how many labs run at the same time in the comparisons with tools of
// other people.
const sideBySide = 20

// tool is the path of a program to compare with. CI has them all.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("CI") != "":
		t.Fatalf("CI has to have %s, to compare with: %v", name, err)
	}
	t.Skipf("needs %s, to compare with", name)
	return ""
}

// unable skips the test for a tool that does not work here; in CI it has to.
func unable(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// records collects the journals of a campaign.
type records struct {
	mu     sync.Mutex
	events [][]journal.Event
	errs   []error
}

func (*records) Listed(string, error) {}

func (r *records) Event(run int, e journal.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[run] = append(r.events[run], e)
}

func (r *records) Done(run int, _ report.Document, _ string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errs[run] = err
}

// TestTsharkAndBpftrace plays every scenario of the article, several of each, side by side.
// In each lab dumpcap, of Wireshark, captures at the server's interface, and bpftrace
// watches the whole machine. What tshark reads of these captures must be the segments
// of the journals, in the same order, and what bpftrace told their transitions.
func TestTsharkAndBpftrace(t *testing.T) {
	t.Parallel()
	need(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root: nobody else may capture in a lab, or watch the machine")
	}
	tool(t, "tshark")
	dumpcap := tool(t, "dumpcap")
	const port = 12987 // of no other lab, since bpftrace sees those of the whole machine
	watched := watchStates(t, port)

	folder := t.TempDir()
	var items []campaign.Item
	for round := 0; len(items) < sideBySide; round++ {
		for _, one := range article(t) {
			s := *one.Scenario
			s.Name = fmt.Sprintf("%s-%d", s.Name, round)
			s.Labs = slices.Clone(s.Labs)
			for i := range s.Labs {
				s.Labs[i] = moved(s.Labs[i], port)
				s.Labs[i].Name = fmt.Sprintf("%s-%d", s.Name, i)
				s.Labs[i] = captured(t, s.Labs[i], dumpcap, filepath.Join(folder, s.Labs[i].Name))
			}
			one.Scenario = &s
			items = append(items, one)
		}
	}
	got := &records{events: make([][]journal.Event, len(items)), errs: make([]error, len(items))}
	code := campaign.Run(context.Background(), items, campaign.Options{Folder: filepath.Join(folder, "reports"), Jobs: len(items), Labctl: "test", Now: time.Now}, got)
	theirs := watched()
	if code != campaign.OK {
		t.Errorf("exit code %d: %v", code, got.errs)
	}
	ours := map[string]int{}
	segments, labs, transitions := 0, 0, 0
	for i, item := range items {
		for _, lab := range item.Labs {
			var events []journal.Event
			for _, e := range got.events[i] {
				if e.Loss != nil {
					t.Errorf("%s: lost: %+v", lab.Name, e.Loss)
				}
				if e.Lab == lab.Name {
					events = append(events, e)
				}
			}
			segments += compareSegments(t, lab, events, filepath.Join(folder, lab.Name))
			countStates(ours, events, port)
			labs++
		}
	}
	for _, n := range ours {
		transitions += n
	}
	if labs < sideBySide || segments == 0 {
		t.Errorf("%d labs with %d segments", labs, segments)
	}
	t.Logf("tshark: %d segments of %d labs side by side, each as in its journal", segments, labs)
	if theirs == nil {
		t.Skip("state changes are not recorded here")
	}
	told := 0
	for _, n := range theirs {
		told += n
	}
	if diff := gocmp.Diff(theirs, ours); diff != "" || told == 0 {
		t.Errorf("bpftrace and the journals differ:\n%s", diff)
	}
	t.Logf("bpftrace: %d transitions told, %d in the journals of %d labs side by side", told, transitions, labs)
}

// moved is the lab on another port.
func moved(lab scenario.Lab, port uint16) scenario.Lab {
	old := lab.Port
	lab.Port = port
	lab.Programs = slices.Clone(lab.Programs)
	for i := range lab.Programs {
		p := &lab.Programs[i]
		if s := p.Server; s != nil && s.Port == old {
			p.Server = new(*s)
			p.Server.Port = port
		}
		if c := p.Client; c != nil && c.Port == old {
			p.Client = new(*c)
			p.Client.Port = port
		}
		if e := p.Exec; e != nil && e.Ready.Port == old {
			p.Exec = new(*e)
			p.Exec.Ready.Port = port
		}
	}
	lab.Sockets, lab.Steps = slices.Clone(lab.Sockets), slices.Clone(lab.Steps)
	for i := range lab.Sockets {
		if lab.Sockets[i].Port == old {
			lab.Sockets[i].Port = port
		}
	}
	for i := range lab.Steps {
		if lab.Steps[i].Port == old {
			lab.Steps[i].Port = port
		}
	}
	return lab
}

// lastPort is where the last words of a capture go, on nobody's port.
const lastPort = 9

// captured is the lab with dumpcap on its first host before the first step. After the
// last one something is sent there that dumpcap must have written: whatever was on
// the wire before then stands in the file too.
func captured(t testing.TB, lab scenario.Lab, dumpcap, file string) scenario.Lab {
	t.Helper()
	host, other, device := lab.Hosts[0], "other-host", "eth0"
	from := host.Name
	if len(lab.Hosts) == 1 {
		device = "lo"
	} else {
		other = lab.Hosts[1].Name
		from = other
	}
	helper, err := scenario.Load("helper.yaml", fmt.Appendf(nil, `
name: helper
hosts: {%[1]s: {}, %[7]s: {}}
programs:
  last-server: {host: %[1]s, server: {serve: hold, address: 0.0.0.0, port: %[2]d}}
  dumpcap:
    host: %[1]s
    exec:
      argv: [sh, -c, '%[3]s -q -s 256 -i %[4]s -f tcp -w - 2>%[5]s.said | tee %[5]s | (head -c 28 >/dev/null && echo ready; grep -aqm1 last-words && echo captured)']
      ready: {line: ready}
  last-words:
    host: %[8]s
    exec:
      argv: [bash, -c, 'echo last-words >/dev/tcp/%[6]s/%[2]d; echo sent']
      ready: {line: sent}
steps:
  - start: dumpcap
  - start: last-server
  - run: last-words
  - wait: {program: dumpcap, until: {lines: [ready, captured]}}
    within: 60s
`, host.Name, lastPort, dumpcap, device, file, host.Addresses[0].Addr(), other, from), scenario.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	lab.Programs = append(slices.Clone(lab.Programs), helper.Labs[0].Programs...)
	steps := helper.Labs[0].Steps
	lab.Steps = slices.Concat(steps[:1], lab.Steps, steps[1:])
	for i := range lab.Steps {
		lab.Steps[i].Index = i + 1
	}
	return lab
}

// seen is a segment as somebody saw it at the server's interface.
type seen struct {
	at   int64 // ns
	out  bool
	line string
}

// compareSegments compares what tshark reads of a lab's capture with its journal, up to
// the last words, and returns how many segments both have.
func compareSegments(t *testing.T, lab scenario.Lab, events []journal.Event, file string) int {
	t.Helper()
	loopback := len(lab.Hosts) == 1
	var ours, theirs []seen
	for _, e := range events {
		// On lo what leaves arrives at once, and libpcap shows it once.
		if s := e.Segment; s != nil && e.Host == lab.Hosts[0].Name && !(loopback && s.Out) {
			ours = append(ours, seen{s.Wall, s.Out, line(s)})
		}
	}
	for _, l := range read(t, file, "-e", "frame.time_epoch") {
		at, rest, _ := strings.Cut(l, "|")
		stamp, err := strconv.ParseInt(strings.Replace(at, ".", "", 1), 10, 64)
		i := strings.LastIndex(rest, "|") // whether the checksum is right: on lo there is none
		if err != nil || i < 0 {
			t.Errorf("%s: tshark reads %q", lab.Name, l)
			return 0
		}
		if !loopback && rest[i:] != "|1" {
			t.Errorf("%s: tshark finds the checksum wrong of %s", lab.Name, rest)
		}
		theirs = append(theirs, seen{stamp, false, rest[:i]})
	}
	for all, who := range map[*[]seen]string{&ours: "the journal", &theirs: "dumpcap"} {
		slices.SortStableFunc(*all, func(a, b seen) int { return cmp.Compare(a.at, b.at) })
		last := slices.IndexFunc(*all, func(s seen) bool { return strings.Contains(s.line, fmt.Sprintf("|%d|0x0018|", lastPort)) })
		if last < 0 {
			t.Errorf("%s: %s has no last words among %d segments", lab.Name, who, len(*all))
		}
		*all = (*all)[:last+1]
	}
	// The kernel hands a frame to one capture after the other, and meanwhile, on
	// another CPU, one that goes the other way.
	const meanwhile = 20_000
	for i := 0; i+1 < min(len(ours), len(theirs)); i++ {
		a, b := ours[i], ours[i+1]
		if a.line == theirs[i+1].line && b.line == theirs[i].line && a.out != b.out && b.at-a.at < meanwhile {
			ours[i], ours[i+1] = b, a
		}
	}
	lines := func(all []seen) (lines []string) {
		for _, s := range all {
			lines = append(lines, s.line)
		}
		return lines
	}
	if diff := gocmp.Diff(lines(theirs), lines(ours)); diff != "" {
		t.Errorf("%s: tshark reads %d segments, the journal has %d:\n%s", lab.Name, len(theirs), len(ours), diff)
	}
	return len(ours)
}

// watchStates has bpftrace print the transitions on a port, of the whole machine. The
// function that it returns ends that and counts them; nil where the journal has none
// to compare with.
func watchStates(t *testing.T, port uint16) func() map[string]int {
	t.Helper()
	if why := noTrace(); why != nil {
		t.Logf("bpftrace is not compared with: %v", why)
		return func() map[string]int { return nil }
	}
	tool(t, "bpftrace")
	program := fmt.Sprintf(`BEGIN { printf("ready\n"); }
tracepoint:sock:inet_sock_set_state /args->protocol == 6 && (args->sport == %d || args->dport == %[1]d)/ {
	printf("%%d %%d %%d %%d\n", args->oldstate, args->newstate, args->sport, args->dport); }`, port)
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c",
		`mount -t tracefs none /sys/kernel/tracing && exec bpftrace -B line -e "$1"`, "sh", program)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() && lines.Text() != "ready" {
	}
	if lines.Text() != "ready" {
		cmd.Wait()
		unable(t, "bpftrace does not work here: %s", said.String())
	}
	var all []string
	done := make(chan struct{})
	go func() { // lest it waits for room to print
		defer close(done)
		for lines.Scan() {
			all = append(all, lines.Text())
		}
	}()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cmd.Process.Signal(unix.SIGINT) // it reads what it has, and ends
			<-done
			cmd.Wait() // its exit after SIGINT is of no interest
		})
	}
	t.Cleanup(stop)
	return func() map[string]int {
		stop()
		if strings.Contains(said.String(), "Lost") {
			t.Errorf("bpftrace: %s", said.String())
		}
		names := []string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
			"LAST_ACK", "LISTEN", "CLOSING", "SYN_RECV"}
		told := map[string]int{}
		for _, l := range all {
			var from, to, source, target int
			if n, _ := fmt.Sscan(l, &from, &to, &source, &target); n != 4 {
				if strings.TrimSpace(l) != "" && !strings.HasPrefix(l, "Attaching") {
					t.Errorf("bpftrace says %q", l)
				}
				continue
			}
			if names[from] != names[to] {
				told[stateKey(names[from], names[to], source, target)]++
			}
		}
		return told
	}
}

// stateKey is what is compared of a transition. A client's port is given out after
// SYN_SENT is told and taken back before CLOSE is.
func stateKey(from, to string, local, remote int) string {
	if to == "SYN_SENT" || to == "CLOSE" {
		local = 0
	}
	return fmt.Sprintf("%s -> %s of %d to %d", from, to, local, remote)
}

// countStates counts a journal's transitions as the kernel's tracepoint tells them: it
// shows the beginning of a TIME_WAIT as a full socket's end, and nothing after that. A
// child of a listener has no peer yet when it is told to be in SYN_RECV.
func countStates(all map[string]int, events []journal.Event, port uint16) {
	for _, e := range events {
		s := e.State
		if s == nil || s.From == "TIME_WAIT" || s.Local.Port() != port && s.Remote.Port() != port {
			continue
		}
		to := s.To
		if to == "TIME_WAIT" {
			to = "CLOSE"
		}
		all[stateKey(s.From, to, int(s.Local.Port()), int(s.Remote.Port()))]++
	}
}

// noTrace says why the kernel's state changes are not recorded here, nil if they are.
func noTrace() error {
	tracer, err := trace.Open(0)
	if err != nil {
		return err
	}
	return tracer.Close()
}
