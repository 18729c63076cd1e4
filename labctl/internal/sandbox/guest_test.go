package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/kernel"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

// guests are machines with the kernels that were fetched here: each test on each.
func guests(t *testing.T) []*kernel.Machine {
	t.Helper()
	if testing.Short() {
		t.Skip("starts other kernels, which takes seconds each")
	}
	store, err := kernel.Open()
	if err != nil {
		t.Skip("there is no store of kernels: ", err)
	}
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Skip("no other kernel is here: labctl kernels fetch debian:6.12")
	}
	qemu, err := kernel.FindQEMU(t.Context())
	if err != nil {
		t.Skip(err)
	}
	// The machines of a test are its own: their labctl is this test.
	own := kernel.OpenAt(t.TempDir())
	var machines []*kernel.Machine
	for _, k := range list {
		m, err := own.Prepare(t.Context(), qemu, k, true, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		machines = append(machines, m)
	}
	return machines
}

// inGuest plays a scenario and returns the lines of its journal.
func inGuest(ctx context.Context, t *testing.T, m *kernel.Machine, seed uint64, text string) ([]string, error) {
	t.Helper()
	s, err := scenario.Load("test.yaml", []byte(text), scenario.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	runErr := sandbox.RunIn(ctx, &sandbox.Guest{Machine: m, Seed: seed}, scenario.Plan{Labs: s.Labs}, journal.Header{Version: journal.Version}, f, func(journal.Event) {})
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	events, err := journal.ReadAll(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if last := events[len(events)-1]; runErr == nil && ctx.Err() == nil && (last.LabInfo == nil || last.LabInfo.Verdict != journal.Pass) {
		t.Errorf("the last event is %+v", last)
	}
	return strings.Split(strings.TrimSpace(string(b)), "\n"), runErr
}

// TestGuest plays the article's experiment in another kernel: all but the first line
// is the same for a seed, with a busy CPU beside it or not, and another for another.
func TestGuest(t *testing.T) {
	text := shipped(t, "timewait")
	for _, m := range guests(t) {
		t.Run(m.Kernel, func(t *testing.T) {
			var runs [3][]string
			for i, seed := range []uint64{1, 1, 2} {
				stop := func() {}
				if i == 1 {
					stop = burn()
				}
				start := time.Now()
				lines, err := inGuest(t.Context(), t, m, seed, text)
				stop()
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("seed %d: %d lines in %s", seed, len(lines), time.Since(start))
				runs[i] = lines
			}
			for n := range min(len(runs[0]), len(runs[1])) {
				if n > 0 && runs[0][n] != runs[1][n] {
					t.Fatalf("line %d differs for the same seed:\n%s\n%s", n+1, runs[0][n], runs[1][n])
				}
			}
			if len(runs[0]) != len(runs[1]) {
				t.Errorf("%d lines, and %d for the same seed", len(runs[0]), len(runs[1]))
			}
			if strings.Join(runs[0][1:], "\n") == strings.Join(runs[2][1:], "\n") {
				t.Error("another seed makes the same journal")
			}
			if !strings.Contains(runs[0][0], `"ratio":`) || !strings.Contains(runs[0][0], m.Kernel) {
				t.Errorf("the first line does not tell all: %s", runs[0][0])
			}
		})
	}
}

// burn keeps a CPU busy until stop.
func burn() (stop func()) {
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
		}
	}()
	return func() { close(done) }
}

// TestGuestCancelled interrupts a run: what was there until then is a journal.
func TestGuestCancelled(t *testing.T) {
	m := guests(t)[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lines, err := inGuest(ctx, t, m, 1, shipped(t, "timewait"))
	if err != nil || len(lines) == 0 {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

// TestGuestOfItsOwn refuses a program that a guest has not.
func TestGuestOfItsOwn(t *testing.T) {
	m := guests(t)[0]
	s, err := scenario.Load("test.yaml", []byte("name: x\nprograms: {app: {host: server, exec: {argv: [sleep, '1'], ready: {line: x}}}}\nsteps: [{start: app}]\n"), scenario.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	err = sandbox.RunIn(t.Context(), &sandbox.Guest{Machine: m, Seed: 1}, scenario.Plan{Labs: s.Labs}, journal.Header{}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "app runs sleep") {
		t.Errorf("%v", err)
	}
}
