//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkTimewait runs the article's experiment 1, 10, 100 and 1,000 times side by
// side, as anyone can: labctl run timewait --repeat N -j N. It reports the wall time,
// also as a multiple of a single run's, the CPU time, and the most memory that all
// processes together had (their proportional set sizes, twice a second).
//
//	go test -run='^$' -bench=Timewait -benchtime=1x -timeout=20m ./labctl
func BenchmarkTimewait(b *testing.B) {
	labctl := build(b)
	single := 0.0
	for _, n := range []int{1, 10, 100, 1000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for b.Loop() {
				m := measure(b, labctl, "run", "timewait", "--repeat", strconv.Itoa(n), "-j", strconv.Itoa(n))
				if n == 1 {
					single = m.wall.Seconds()
				}
				b.ReportMetric(m.wall.Seconds(), "s/wall")
				b.ReportMetric(m.wall.Seconds()/single, "single-runs")
				b.ReportMetric(m.cpu.Seconds(), "s/CPU")
				b.ReportMetric(m.memory, "MiB-PSS")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

// BenchmarkStudies plays a study of options and old states, 16 pairs by 11 states on
// two hosts each, and a study of 1,000 cells that only bind.
//
//	go test -run='^$' -bench=Studies -benchtime=1x ./labctl
func BenchmarkStudies(b *testing.B) {
	labctl := build(b)
	for name, text := range map[string]string{"options-by-state": optionsByState, "only-binds": onlyBinds()} {
		b.Run(name, func(b *testing.B) {
			file := filepath.Join(b.TempDir(), name+".yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				m := measure(b, labctl, "run", file)
				b.ReportMetric(m.wall.Seconds(), "s/wall")
				b.ReportMetric(m.cpu.Seconds(), "s/CPU")
				b.ReportMetric(m.memory, "MiB-PSS")
				b.ReportMetric(0, "ns/op")
			}
		})
	}
}

const optionsByState = `
name: options-by-state
title: Which options let a restart bind, by old state?
matrix:
  axes:
    state: [BOUND, LISTEN, SYN_SENT, SYN_RECV, ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING, TIME_WAIT]
    before: &sets {none: {}, A: {reuseaddr: true}, P: {reuseport: true}, AP: {reuseaddr: true, reuseport: true}}
    after: *sets
sockets:
  old: {host: server, address: 0.0.0.0, options: $before}
  new: {host: server, address: 0.0.0.0, options: $after}
steps:
  - hold: {socket: old, state: $state, peer: client}
  - bind: new
    expect: any
`

// onlyBinds is a study of 10 by 10 by 10 cells.
func onlyBinds() string {
	var values []string
	for i := range 10 {
		values = append(values, strconv.Itoa(12000+i))
	}
	ports := "[" + strings.Join(values, ", ") + "]"
	return fmt.Sprintf(`
name: only-binds
title: Does a port keep others from it?
matrix:
  axes: {first: %s, second: %s, third: %s}
sockets:
  one: {host: server, address: 0.0.0.0, port: $first}
  two: {host: server, address: 0.0.0.0, port: $second}
  three: {host: server, address: 192.168.44.144, port: $third}
steps:
  - bind: one
  - bind: two
    expect: any
  - bind: three
    expect: any
`, ports, ports, ports)
}

// build makes labctl as it is meant to be: in one file, which starts faster.
func build(b *testing.B) string {
	b.Helper()
	path := filepath.Join(b.TempDir(), "labctl")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "restartlab/labctl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// cost is what a run took.
type cost struct {
	wall, cpu time.Duration
	memory    float64 // MiB, at the most
}

func measure(b *testing.B, labctl string, argv ...string) (m cost) {
	b.Helper()
	cmd := exec.Command(labctl, append(argv, "--report", filepath.Join(b.TempDir(), "report"))...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	over := make(chan struct{})
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		look := time.NewTicker(500 * time.Millisecond)
		defer look.Stop()
		for {
			m.memory = max(m.memory, memoryOf(cmd.Process.Pid))
			select {
			case <-over:
				return
			case <-look.C:
			}
		}
	}()
	err := cmd.Wait()
	m.wall = time.Since(begin)
	close(over)
	<-sampled
	if exit, ok := err.(*exec.ExitError); ok && exit.ExitCode() == 3 {
		b.Skip(out.String())
	}
	if err != nil {
		b.Fatalf("%v\n%s", err, out.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	m.cpu = time.Duration(unix.TimevalToNsec(unix.Timeval(usage.Utime)) + unix.TimevalToNsec(unix.Timeval(usage.Stime)))
	runtime.KeepAlive(cmd)
	return m
}

// memoryOf is the proportional set size of a process and all that come from it, MiB.
func memoryOf(pid int) float64 {
	kib := 0
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)) // gone meanwhile: nothing
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "Pss:" {
			kib, _ = strconv.Atoi(f[1])
		}
	}
	sum := float64(kib) / 1024
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range tasks {
		children, _ := os.ReadFile(file)
		for _, child := range strings.Fields(string(children)) {
			if n, err := strconv.Atoi(child); err == nil {
				sum += memoryOf(n)
			}
		}
	}
	return sum
}
