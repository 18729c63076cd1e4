package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/cli"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

// killAt makes the test binary a labctl that runs a scenario and kills
// itself with SIGKILL when it has seen the event of that number.
const killAt = "SANDBOX_TEST_KILL_AT"

func TestMain(m *testing.M) {
	if code, ok := cli.Part(os.Args); ok {
		os.Exit(code)
	}
	if at := os.Getenv(killAt); at != "" {
		n, err := strconv.Atoi(at)
		if err == nil {
			err = runInto(context.Background(), os.Args[1], os.Args[2], func(e journal.Event) {
				if e.N == n {
					unix.Kill(os.Getpid(), unix.SIGKILL)
					select {} // until it arrives
				}
			})
		}
		fmt.Fprintln(os.Stderr, "not killed:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// quick has what a kill could leave behind: a server, a client that holds a
// connection, a child that outlives its parent, and an exec with a child.
const quick = `
name: quick
programs:
  app:     {host: server, server: {serve: fork}}
  visitor: {host: client, client: {address: server, hold: true}}
  other:   {host: client, exec: {argv: [sh, -c, "echo up; sleep 1000"], ready: {line: up}}}
steps:
  - start: app
  - start: other
  - start: visitor
  - wait: {program: visitor, until: {lines: [connIdx=0]}}
  - stop: {program: app, signal: SIGKILL}
  - netstat: server
  - start: app
    expect: {bind: EADDRINUSE, holders: {ESTABLISHED: 1}}
`

func load(t testing.TB, text string) scenario.Plan {
	t.Helper()
	s, err := scenario.Load("test.yaml", []byte(text), scenario.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	return scenario.Plan{Labs: s.Labs}
}

// runInto plays the text and writes its journal into the file.
func runInto(ctx context.Context, file, text string, see func(journal.Event)) error {
	s, err := scenario.Load("test.yaml", []byte(text), scenario.Settings{})
	if err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer f.Close()
	header := journal.Header{Version: journal.Version, Scenario: journal.Scenario{Name: s.Name, Text: s.Text}}
	return sandbox.Run(ctx, scenario.Plan{Labs: s.Labs}, header, f, see)
}

// need skips the test where labs are refused.
func need(t testing.TB) {
	t.Helper()
	refused := (*sandbox.Refused)(nil)
	if _, err := sandbox.Examine(); errors.As(err, &refused) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// run plays the text and returns its events.
func run(t testing.TB, text string) []journal.Event {
	t.Helper()
	return runWith(t, text, scenario.BestLayer)
}

// runWith does so with state changes of the given layer.
func runWith(t testing.TB, text string, layer scenario.Layer) []journal.Event {
	t.Helper()
	var events []journal.Event
	var out bytes.Buffer
	plan := load(t, text)
	plan.Layer = layer
	err := sandbox.Run(context.Background(), plan, journal.Header{Version: journal.Version}, &out,
		func(e journal.Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	read, err := journal.ReadAll(&out)
	if err != nil {
		t.Fatal(err)
	}
	if len(read) != len(events) {
		t.Fatalf("%d events were shown and %d written", len(events), len(read))
	}
	return events
}

// verdict is that of the run, and its failing step's id.
func verdict(events []journal.Event) (v journal.Verdict, step string) {
	v = journal.Incomplete
	for _, e := range events {
		if s := e.StepRun; s != nil && s.Phase == journal.PhaseEnd && s.Verdict != journal.Pass && s.Verdict != journal.Skipped {
			step = s.ID
		}
		if l := e.LabInfo; l != nil && l.Phase == journal.PhaseEnd {
			v = l.Verdict
		}
	}
	return v, step
}

// calling has what a kill could leave behind of steps that call on sockets: rules of
// nftables, held states, a forked child and a passed listener, on two hosts and, in the
// other cell, on one with a process that labs share.
const calling = `
name: calling
matrix:
  axes: {state: [LISTEN, CLOSING]}
programs:
  giver: {host: server}
  taker: {host: server}
  heir:  {host: server}
sockets:
  old:      {host: server, address: 0.0.0.0}
  new:      {host: server, address: 0.0.0.0}
  listener: {program: giver, address: 0.0.0.0, port: 12501}
steps:
  - hold: {socket: old, state: $state}
  - bind: new
    expect: {result: EADDRINUSE}
  - bind: listener
    when: {state: CLOSING}
  - listen: listener
    when: {state: CLOSING}
  - inherit: {socket: listener, to: heir, as: kept}
    when: {state: CLOSING}
  - pass: {socket: listener, to: taker, as: passed}
    when: {state: CLOSING}
  - stop: giver
    when: {state: CLOSING}
  - close: new
`

// TestKill kills labctl after each event of a run, and ten times before the
// first that the lab itself writes, and looks for anything left.
func TestKill(t *testing.T) {
	t.Run("programs", func(t *testing.T) { killAll(t, quick, 1) })
	t.Run("sockets", func(t *testing.T) { killAll(t, calling, 3) })
}

// killAll does so with the scenario, after each so many events.
func killAll(t *testing.T, text string, each int) {
	need(t)
	// What the killed labctl leaves becomes a child of this process, so that
	// waiting for children is waiting for all of it.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

	whole := len(run(t, text))
	if whole < 40 {
		t.Fatalf("the scenario has only %d events", whole)
	}
	before := machineState(t)
	kill := func(at int) {
		temp := t.TempDir()
		file := filepath.Join(t.TempDir(), "journal.jsonl")
		cmd := exec.Command("/proc/self/exe", file, text)
		cmd.Env = append(os.Environ(), killAt+"="+strconv.Itoa(at), "TMPDIR="+temp)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Fatalf("killed at event %d: %v\n%s", at, err, out)
		}
		for {
			var status unix.WaitStatus
			// However it ended: by the kernel's signal, or by itself when it
			// saw the end of the control stream.
			if _, err := unix.Wait4(-1, &status, 0, nil); err == unix.ECHILD {
				break
			} else if err != nil && err != unix.EINTR {
				t.Fatal(err)
			}
		}
		if after := machineState(t); after != before {
			t.Fatalf("killed at event %d: the machine was\n%s\nand is\n%s", at, before, after)
		}
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("killed at event %d: left in the temporary folder: %v", at, left)
		}
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		events, err := journal.ReadAll(f)
		if err != nil || len(events) < at {
			t.Fatalf("killed at event %d: the journal has %d events: %v", at, len(events), err)
		}
		if len(load(t, text).Labs) > 1 {
			return // a study's report is campaign's to test
		}
		r, err := report.Build(events)
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != journal.Incomplete {
			t.Errorf("killed at event %d: verdict %s", at, r.Verdict)
		}
	}
	for range 10 {
		kill(1) // the header: written before the lab is heard of
	}
	for at := 2; at < whole-8; at += each { // before the lab's end, in whatever order programs print
		kill(at)
	}
}

// machineState is what a lab could leave on the machine: interfaces of the names
// that labs use, and mounts of /proc. (Others may mount and unmount meanwhile.)
func machineState(t *testing.T) string {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	links, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	var state strings.Builder
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); f[4] == "/proc" {
			state.WriteString(line)
		}
	}
	for line := range strings.Lines(string(links)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "eth0" || strings.HasPrefix(name, "veth") {
			state.WriteString(name + "\n")
		}
	}
	return state.String()
}

// TestCancel interrupts a run in the middle of a wait.
func TestCancel(t *testing.T) {
	need(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var events []journal.Event
	plan := load(t, "name: long\nprograms: {app: {host: server, server: {}}}\nsteps: [{start: app}, {wait: {for: 1h}, id: wait}, {stop: app}]\n")
	err := sandbox.Run(ctx, plan, journal.Header{Version: journal.Version}, &bytes.Buffer{}, func(e journal.Event) {
		events = append(events, e)
		if e.StepRun != nil && e.StepRun.Verb == scenario.VerbWait && e.StepRun.Phase == journal.PhaseBegin {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if v, step := verdict(events); v != journal.Incomplete || step != "wait" {
		t.Errorf("verdict %s at step %q, want incomplete at wait", v, step)
	}
	exits := 0
	for _, e := range events {
		if e.Process != nil && e.Process.Phase == journal.PhaseExit {
			exits++
		}
	}
	if exits != 1 {
		t.Errorf("%d exits, want that of app", exits)
	}
}

// TestIgnoredSignals starts labctl as a shell starts what ends in "&": with
// SIGINT ignored. The lab's programs must not inherit that.
func TestIgnoredSignals(t *testing.T) {
	need(t)
	file := filepath.Join(t.TempDir(), "s.yaml")
	text := "name: s\nprograms: {app: {host: server, server: {}}, sh: {host: server, exec: {argv: [sleep, '1000'], ready: {line: never}}}}\n" +
		"steps: [{start: app}, {stop: {program: app, signal: SIGINT}, expect: {signal: SIGINT}}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("sh", "-c", `trap "" INT QUIT HUP TERM; exec "$@"`, "sh",
		labctl(t), "run", "--report", t.TempDir(), file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestSharedMounts runs a lab where every mount is shared, as systemd has it,
// and looks whether the lab's own /proc appears outside.
func TestSharedMounts(t *testing.T) {
	need(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("needs unshare, of util-linux")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "s.yaml")
	if err := os.WriteFile(file, []byte(quick), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--mount", "--propagation", "shared"}
	if os.Geteuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	args = append(args, "sh", "-c", `before=$(wc -l </proc/self/mountinfo); "$@" || exit; echo "mounts $before $(wc -l </proc/self/mountinfo)"`,
		"sh", labctl(t), "run", "--report", filepath.Join(dir, "report"), file)
	out, err := exec.Command(unshare, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var before, after int
	i := strings.Index(string(out), "mounts ")
	if i < 0 {
		t.Fatalf("no count of mounts:\n%s", out)
	}
	if _, err := fmt.Sscanf(string(out[i:]), "mounts %d %d", &before, &after); err != nil || before != after || before == 0 {
		t.Errorf("mounts before and after: %d, %d (%v)", before, after, err)
	}
}

// TestRefused asks for a lab where the kernel allows no further network
// namespace.
func TestRefused(t *testing.T) {
	need(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("needs unshare, of util-linux")
	}
	dir := t.TempDir()
	cmd := exec.Command(unshare, "--user", "--map-root-user", "sh", "-c",
		`echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"`, "sh", labctl(t), "run", "timewait")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Fatalf("%v, want exit code 3\n%s", err, out)
	}
	for _, want := range []string{"refused", "no space left on device", "user.max_net_namespaces", "docker run"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the message does not say %q:\n%s", want, out)
		}
	}
	if left, _ := filepath.Glob(dir + "/reports/*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// labctl builds the program once for the tests that need it as another process
// tree would start it.
func labctl(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "labctl")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "restartlab/labctl").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// TestManyLabs plays labs side by side in one inside: they have the same
// addresses, ports and names, and nothing to do with each other.
func TestManyLabs(t *testing.T) {
	need(t)
	const labs = 12
	plan := load(t, quick)
	for i := range labs {
		lab := plan.Labs[0]
		lab.Name = fmt.Sprintf("quick-%d", i)
		plan.Labs = append(plan.Labs, lab)
	}
	plan.Labs = plan.Labs[1:]
	verdicts := map[string]journal.Verdict{}
	err := sandbox.Run(context.Background(), plan, journal.Header{Version: journal.Version}, &bytes.Buffer{}, func(e journal.Event) {
		if l := e.LabInfo; l != nil && l.Phase == journal.PhaseEnd {
			verdicts[e.Lab] = l.Verdict
			if l.Verdict != journal.Pass {
				t.Errorf("%s: %s %s", e.Lab, l.Verdict, l.Error)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(verdicts) != labs {
		t.Errorf("%d of %d labs ended", len(verdicts), labs)
	}
}
