package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/kernel"
	"restartlab/labctl/internal/scenario"
)

// Guest is a machine with a kernel of its own, the other place for an inside than
// namespaces of this machine.
type Guest struct {
	*kernel.Machine
	Seed uint64 // of all that is left to chance
}

// JournalFile is where a guest's journal goes. Its first line is written again when
// the run is over.
type JournalFile interface {
	io.Writer
	io.WriterAt
}

// RunIn is Run in a guest. It needs no privilege and not even Linux. The header's
// Machine is that of this machine; the guest's takes its place.
//
// With a warped clock, every line but the first is the same for the same plan and
// the same seed, byte for byte.
func RunIn(ctx context.Context, g *Guest, plan scenario.Plan, header journal.Header, out JournalFile, see func(journal.Event)) error {
	for _, lab := range plan.Labs {
		for _, p := range lab.Programs {
			if p.Exec != nil {
				return fmt.Errorf("%s runs %s, which is a program of this machine: a guest with a kernel of its own has only labctl's server and client", p.Name, p.Exec.Argv[0])
			}
		}
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	header.Guest = &journal.Guest{Kernel: g.Source, Digest: g.Digest, QEMU: g.QEMU, Accel: g.Accel, Warp: g.Warp, Seed: g.Seed,
		Memory: g.Memory, Host: header.Machine}
	header.Machine = journal.Machine{Kernel: g.Guest.Release, KernelBuild: g.Guest.Build, Arch: g.Guest.Arch, HZ: g.Guest.HZ, CPUs: 1}
	// Room for what is known at the end.
	header.Guest.Wall, header.Guest.Ratio = math.MaxInt64, -math.MaxFloat64
	most, err := firstLine(header, 0)
	if err != nil {
		return err
	}
	header.Guest.Wall, header.Guest.Ratio = 0, 0
	line, err := firstLine(header, len(most))
	if err != nil {
		return err
	}
	if _, err := out.Write(line); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	see(journal.Event{N: 1, Kind: journal.KindHeader, Header: &header})

	start := time.Now()
	var last int64
	runErr := g.Run(ctx, text, g.Seed, patience(g, plan), func(b []byte) error {
		if _, err := out.Write(b); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
		var e journal.Event
		if err := json.Unmarshal(b, &e); err != nil {
			return fmt.Errorf("the guest wrote a line that is no event: %w", err)
		}
		last = max(last, e.T)
		see(e)
		return nil
	})
	ended := *header.Guest
	ended.Wall = time.Since(start).Nanoseconds()
	ended.Ratio = math.Round(10*float64(last)/float64(ended.Wall)) / 10
	header.Guest = &ended
	line, err = firstLine(header, len(most))
	if err == nil {
		_, err = out.WriteAt(line, 0)
	}
	if runErr == nil && err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	if ctx.Err() != nil {
		return nil // it was told to stop
	}
	return runErr
}

// firstLine is the header's line, filled up with spaces to length bytes.
func firstLine(h journal.Header, length int) ([]byte, error) {
	line, err := json.Marshal(journal.Event{N: 1, Kind: journal.KindHeader, Header: &h})
	if err != nil {
		return nil, fmt.Errorf("write the journal: %w", err)
	}
	line = append(line, bytes.Repeat([]byte(" "), max(0, length-len(line)-1))...)
	return append(line, '\n'), nil
}

// patience is how long a guest may say nothing: in real time, as long as it waits
// for anything.
func patience(g *Guest, plan scenario.Plan) time.Duration {
	const usual = time.Minute
	if g.Warp {
		return usual
	}
	var longest time.Duration
	for _, lab := range plan.Labs {
		for _, s := range lab.Steps {
			longest = max(longest, s.Within, s.For)
		}
	}
	return usual + longest
}
