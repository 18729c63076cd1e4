package sandbox_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

// BenchmarkWaiting measures what a run costs while it waits for a TIME_WAIT to
// end: the share of a core that all its processes use, and their memory as PSS
// (proportional set size, proc_pid_smaps(5)). Each iteration waits ten seconds.
func BenchmarkWaiting(b *testing.B) {
	need(b)
	const span = 10 * time.Second
	plan := load(b, `
name: waiting
programs:
  app:     {host: server, server: {}}
  visitor: {host: client, client: {address: server}}
steps:
  - start: app
  - run: visitor
  - wait: {host: server, until: {states: {LISTEN: 1}}}
    within: 70s
`)
	waits := make(chan bool)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() {
		done <- sandbox.Run(ctx, plan, journal.Header{Version: journal.Version}, &bytes.Buffer{}, func(e journal.Event) {
			if e.StepRun != nil && e.StepRun.Phase == journal.PhaseBegin && e.StepRun.Verb == scenario.VerbWait {
				close(waits)
			}
		})
	}()
	<-waits
	var cpu, wall time.Duration
	var pss int64
	b.ResetTimer()
	for b.Loop() {
		used, start := treeCPU(b), time.Now()
		<-time.After(span) // what is measured is the time itself
		cpu += treeCPU(b) - used
		wall += time.Since(start)
		pss = max(pss, treePSS(b))
	}
	b.StopTimer()
	cancel()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(100*cpu.Seconds()/wall.Seconds(), "%core")
	b.ReportMetric(float64(pss)/(1<<20), "MiB-PSS")
}

// tree is this process and all its descendants.
func tree(b *testing.B) (pids []int) {
	b.Helper()
	pids = []int{os.Getpid()}
	for i := 0; i < len(pids); i++ {
		lists, err := filepath.Glob("/proc/" + strconv.Itoa(pids[i]) + "/task/*/children")
		if err != nil {
			b.Fatal(err)
		}
		for _, list := range lists {
			text, _ := os.ReadFile(list) // a thread may have ended
			for _, f := range strings.Fields(string(text)) {
				pid, err := strconv.Atoi(f)
				if err != nil {
					b.Fatal(err)
				}
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// treeCPU sums the on-CPU time of all threads of the tree, from the scheduler's
// own count in nanoseconds (proc_pid_schedstat).
func treeCPU(b *testing.B) (sum time.Duration) {
	b.Helper()
	for _, pid := range tree(b) {
		threads, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/schedstat")
		for _, t := range threads {
			text, _ := os.ReadFile(t)
			if f := strings.Fields(string(text)); len(f) > 0 {
				ns, _ := strconv.ParseInt(f[0], 10, 64)
				sum += time.Duration(ns)
			}
		}
	}
	return sum
}

func treePSS(b *testing.B) (sum int64) {
	b.Helper()
	pids := tree(b)
	if len(pids) < 3 {
		b.Fatalf("the run has only %d processes", len(pids))
	}
	for _, pid := range pids {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
		if err != nil {
			b.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); f[0] == "Pss:" {
				kib, _ := strconv.ParseInt(f[1], 10, 64)
				sum += kib << 10
			}
		}
	}
	return sum
}
