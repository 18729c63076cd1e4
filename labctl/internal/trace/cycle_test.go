package trace

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/capture"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/netlab/netlabtest"
)

// The layers whose cost is measured.
type layer int

const (
	off   layer = iota // nobody observes
	base               // the segments at both hosts' interfaces
	exact              // and every change of a socket's state
)

// observers are those of a lab, as the inside has them.
type observers struct {
	segments *capture.Observer
	taps     []*capture.Tap
	tracer   *Tracer
	hosts    []*Host
	stop     context.CancelFunc
	seen     atomic.Int64 // segments and state changes
	missing  atomic.Int64 // told to be lost
	first    atomic.Int64 // when the first of these was told, 0: not
}

// observe starts them on a lab.
func observe(t testing.TB, network *netlab.Network, what layer) *observers {
	t.Helper()
	o := &observers{}
	if what == off {
		return o
	}
	var err error
	if o.segments, err = capture.NewObserver(); err != nil {
		t.Fatal(err)
	}
	hosts := []*netlab.Host{network.Host("server"), network.Host("client")}
	for _, h := range hosts {
		err := h.Do(func() error {
			tap, err := o.segments.Open(capture.Place{Host: h.Name(), Interface: h.Interface(), Index: h.InterfaceIndex()}, func(e journal.Event) { o.count(e) })
			if err == nil {
				o.taps = append(o.taps, tap)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if what == base {
		return o
	}
	if o.tracer, err = Open(0); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	o.stop = stop
	for _, h := range hosts {
		host := watch(t, o.tracer, h)
		host.arrived = func() { o.count(host.Take()...) }
		o.hosts = append(o.hosts, host)
	}
	go o.tracer.Run(ctx)
	return o
}

func (o *observers) count(events ...journal.Event) {
	for _, e := range events {
		if e.Loss == nil {
			o.seen.Add(1)
			continue
		}
		o.missing.Add(int64(e.Loss.Count))
		o.first.CompareAndSwap(0, journal.Monotonic())
	}
}

// end has all told that was seen, and lets go of the kernel's side.
func (o *observers) end(t testing.TB) {
	t.Helper()
	for _, tap := range o.taps {
		tap.Close()
	}
	for _, h := range o.hosts {
		events, err := h.Flush(nothing)
		if err != nil {
			t.Error(err)
		}
		o.count(events...)
	}
	if o.segments != nil {
		o.segments.Close()
	}
	if o.tracer != nil {
		o.stop()
		if err := o.tracer.Close(); err != nil {
			t.Error(err)
		}
	}
}

// BenchmarkCycle measures connections that carry ten bytes and are closed, client
// and server on one CPU, without observers, with the base layer and with the exact
// one, which take turns. What observers do is done on another CPU. It prints the
// medians of ten rounds, fails on a machine that does nothing else if an observer loses an
// event or slows the lab down by more than it may, and then looks how many events a second
// the exact layer takes when both CPUs do nothing but connect.
func BenchmarkCycle(b *testing.B) {
	const rounds, cycles = 10, 1000
	if runtime.NumCPU() < 2 {
		b.Skip("needs two CPUs, one for the observers")
	}
	network := rig(b)
	opened(b, ringSize) // or a reason to skip
	pair := netlabtest.Listen(b, network.Host("server"), network.Host("client"), address)
	for b.Loop() {
		var wall, cpu [exact + 1][]float64
		var seen, missing int64
		quiet, played := 0, 0
		for range rounds {
			for what := off; what <= exact; what++ {
				o := observe(b, network, what)
				w, c, n, all := timed(b, pair, cycles, func() { o.end(b) })
				wall[what], cpu[what] = append(wall[what], w), append(cpu[what], c)
				quiet, played = quiet+n, played+all
				seen, missing = seen+o.seen.Load(), missing+o.missing.Load()
			}
		}
		// Programs that share the CPU leave its caches to observers and observed in a
		// state of their own.
		judged := quiet*5 >= played*4
		if !judged {
			b.Logf("the limits are not judged by: other programs of this machine interrupted %d of %d cycles", played-quiet, played)
		}
		for what := base; what <= exact; what++ {
			name := [...]string{base: "base", exact: "exact"}[what]
			ratio := median(wall[what]) / median(wall[off])
			b.ReportMetric(ratio, name+"/off")
			b.ReportMetric(median(cpu[what])/median(cpu[off]), "CPU-"+name+"/off")
			if limit := [...]float64{base: 1.20, exact: 1.60}[what]; ratio > limit && judged {
				b.Errorf("a cycle takes %.2f times as long with the %s layer, want at most %.2f", ratio, name, limit)
			}
		}
		b.Logf("µs a cycle: off %.1f, base %.1f, exact %.1f; CPU %.1f, %.1f, %.1f; %d events, %d lost", median(wall[off])/1e3, median(wall[base])/1e3,
			median(wall[exact])/1e3, median(cpu[off])/1e3, median(cpu[base])/1e3, median(cpu[exact])/1e3, seen, missing)
		b.ReportMetric(median(wall[off])/1e3, "µs/cycle")
		b.ReportMetric(float64(missing), "lost")
		// Observers that others keep from their CPU fall behind until there is no room.
		if missing != 0 && judged || seen == 0 {
			b.Errorf("%d events were lost of %d", missing, seen)
		}
		rate, missing := flatOut(b, network, pair)
		b.ReportMetric(rate, "events/s")
		b.ReportMetric(float64(missing), "lost-flat-out")
	}
	b.ReportMetric(0, "ns/op") // of all together: says nothing
}

// few cycles take a millisecond or two: shorter than the turns in which programs of
// a machine share a CPU, longer than those in which observers work.
const few = 20

// timed plays cycles on CPU 0, everything else of this process being on the others,
// until so many were quiet: not interrupted by another program of the machine. wall
// is ns of one of them: the median of few at a time. cpu is ns of all threads for one
// of all that were played, what end does included.
func timed(b *testing.B, pair *netlabtest.Pair, cycles int, end func()) (wall, cpu float64, calm, played int) {
	b.Helper()
	onlyOn(b, others()) // before the thread of the cycles is made, which moves itself
	used := cpuTime(b)
	var quiet []float64
	err := pair.Client.Do(func() error {
		var one, all unix.CPUSet
		one.Set(0)
		all.Fill()
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			return err
		}
		defer unix.SchedSetaffinity(0, &all)
		for ; len(quiet)*few < cycles && played < 10*cycles; played += few {
			before, start := switches(), journal.Monotonic()
			for range few {
				if err := pair.Visit(10, false); err != nil {
					return err
				}
			}
			if took := journal.Monotonic() - start; switches() == before {
				quiet = append(quiet, float64(took)/few)
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	end()
	cpu = float64(cpuTime(b)-used) / float64(played)
	var all unix.CPUSet
	all.Fill()
	onlyOn(b, &all)
	if len(quiet)*few*10 < cycles {
		b.Fatalf("other programs take the CPU too often to measure: of %d cycles %d were not interrupted", played, len(quiet)*few)
	}
	return median(quiet), cpu, len(quiet) * few, played
}

// switches is how often another thread took the CPU from this one.
func switches() int64 {
	var r unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &r) != nil {
		return -1
	}
	return r.Nvcsw + r.Nivcsw
}

// flatOut lets as many threads as there are CPUs connect for a second while the
// exact layer observes. It returns the events a second up to the first loss, or to
// the end if there was none.
func flatOut(b *testing.B, network *netlab.Network, pair *netlabtest.Pair) (rate float64, missing int64) {
	b.Helper()
	o := observe(b, network, exact)
	start := journal.Monotonic()
	var all sync.WaitGroup
	errs := make(chan error, runtime.NumCPU())
	for range runtime.NumCPU() {
		all.Go(func() {
			errs <- pair.Client.Do(func() error {
				for journal.Monotonic()-start < int64(time.Second) && o.missing.Load() == 0 {
					if err := pair.Visit(10, false); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	all.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
	took := journal.Monotonic() - start
	if first := o.first.Load(); first != 0 {
		took = first - start
	}
	o.end(b)
	return float64(o.seen.Load()) / float64(took) * 1e9, o.missing.Load()
}

// others are all CPUs but the first.
func others() *unix.CPUSet {
	var set unix.CPUSet
	for i := 1; i < runtime.NumCPU(); i++ {
		set.Set(i)
	}
	return &set
}

// onlyOn moves every thread of this process.
func onlyOn(b *testing.B, set *unix.CPUSet) {
	b.Helper()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		b.Fatal(err)
	}
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err == nil {
			err = unix.SchedSetaffinity(id, set)
		}
		if err != nil && err != unix.ESRCH { // it has ended
			b.Fatal(fmt.Errorf("move thread %s: %w", t.Name(), err))
		}
	}
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// cpuTime is what this process has used of all CPUs, in ns.
func cpuTime(b *testing.B) int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &ts); err != nil {
		b.Fatal(err)
	}
	return ts.Nano()
}
