package runner

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/scenario"
)

// crowd keeps many labs side by side from being in each other's way. Each takes one of
// its places for as long as it lives, and one of its turns for as long as it has work
// to do for the CPUs: building, starting programs, reading tables. A lab that waits
// gives its turn to another.
type crowd struct {
	places chan struct{}

	mu   sync.Mutex
	free int // turns that nobody has
	// Those that wait for a turn, each for its channel to be closed. Labs that have
	// begun come first: what the kernel holds of them runs out meanwhile.
	begun, fresh []chan struct{}
}

// What a lab takes while it lives, as measured, with a margin.
const (
	memoryOfLab      = 8 << 20 // its namespaces, two programs, and this process's share
	descriptorsOfLab = 16
	// turnsOfCPU are the labs that work at once on a CPU: while a program of one
	// starts, another's kernel works.
	turnsOfCPU = 4
)

// newCrowd has room for jobs labs at once, or with 0 for as many as the machine has
// memory and descriptors for.
func newCrowd(jobs int) *crowd {
	if jobs <= 0 {
		jobs = room()
	}
	return &crowd{places: make(chan struct{}, jobs), free: turnsOfCPU * runtime.NumCPU()}
}

// playAll plays the labs of a plan, as many at once as it says or as have room. Those
// that have not begun when the run is cancelled are not in the journal.
func (in *inside) playAll(ctx context.Context, plan *scenario.Plan) {
	in.crowd = newCrowd(plan.Jobs)
	var labs sync.WaitGroup
	for _, lab := range plan.Labs {
		if !in.crowd.enter(ctx) {
			break
		}
		labs.Go(func() {
			defer in.crowd.leave()
			in.run(ctx, lab)
		})
	}
	labs.Wait()
}

// room is how many labs fit this machine: in half of the memory that is available,
// and in the descriptors that this process may have.
func room() int {
	most := 1024
	if kib := available(); kib > 0 {
		most = min(most, kib<<10/2/memoryOfLab)
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil { // Go has raised it to the hard one
		most = min(most, int(min(limit.Cur, 1<<30))/descriptorsOfLab)
	}
	return max(most, 1)
}

// available is MemAvailable of /proc/meminfo in KiB, 0 if it is not told.
func available() int {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemAvailable:" {
			kib, _ := strconv.Atoi(f[1])
			return kib
		}
	}
	return 0
}

// enter waits for a place. It reports false if the run is cancelled first.
func (c *crowd) enter(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	select {
	case c.places <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *crowd) leave() { <-c.places }

// pace stretches the time between two looks at what tells nobody of itself, so that
// hundreds of labs that wait side by side do not take all the CPU for it.
func (c *crowd) pace(d time.Duration) time.Duration {
	const few = 50
	return d * time.Duration(max(1, len(c.places)/few))
}

// take waits for a turn. fresh says that the lab has not begun.
func (c *crowd) take(fresh bool) {
	c.mu.Lock()
	if c.free > 0 {
		c.free--
		c.mu.Unlock()
		return
	}
	mine := make(chan struct{})
	if fresh {
		c.fresh = append(c.fresh, mine)
	} else {
		c.begun = append(c.begun, mine)
	}
	c.mu.Unlock()
	<-mine
}

// give gives a turn to who waits for one.
func (c *crowd) give() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, queue := range []*[]chan struct{}{&c.begun, &c.fresh} {
		if q := *queue; len(q) > 0 {
			close(q[0])
			*queue = q[1:]
			return
		}
	}
	c.free++
}

// patience is how long a lab may wait and keep its turn: for a process to start or
// end, for a segment to cross a link. In a step that does nothing but wait it has none.
const patience = 100 * time.Millisecond

// patienceOf is that of a lab in the step.
func patienceOf(s *scenario.Step) time.Duration {
	if s.Verb == scenario.VerbWait {
		return 0
	}
	return patience
}

// work waits for a turn, if the lab has none. Only the goroutine that plays its steps
// may call it, without mu.
func (l *lab) work() {
	if !l.turn {
		l.crowd.take(false)
		l.turn = true
	}
}

// rest gives the turn up, if the lab has one.
func (l *lab) rest() {
	if l.turn {
		l.crowd.give()
		l.turn = false
	}
}
