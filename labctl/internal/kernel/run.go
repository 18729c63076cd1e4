package kernel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"restartlab/labctl/internal/guest"
)

// Run goes on with the machine: the guest plays the plan, in JSON, and line is
// called with each line of its journal. It returns when the guest has ended the
// machine; an error is a *Failure, or what line returned. quiet is how long, in real
// time, the guest may say nothing.
func (m *Machine) Run(ctx context.Context, plan []byte, seed uint64, quiet time.Duration, line func([]byte) error) error {
	const what = "run the guest"
	order, err := json.Marshal(guest.Order{Seed: seed, Warp: m.Warp, Plan: plan})
	if err != nil {
		return err
	}
	if len(order) > mostOrder {
		return fmt.Errorf("the plan has %d MiB; a guest takes %d: run fewer labs at once", len(order)>>20, mostOrder>>20)
	}
	state, err := os.Open(filepath.Join(m.folder, stateFile))
	if err != nil {
		return fmt.Errorf("go on with the saved machine: %w", err)
	}
	defer state.Close()
	args := m.arguments(seed, placeholderFile, "-incoming", "defer")
	p, lines, err := m.qemu.start(m.folder, args, order, state)
	if err != nil {
		return err
	}
	defer lines.Close()
	defer p.kill()
	dog := p.killAfter(ctx, quiet)
	defer dog()
	if err := p.migrate("migrate-incoming", fmt.Sprintf("fd:%d", stateFD)); err != nil {
		p.kill()
		return p.failure("go on with the saved machine of kernel "+m.Kernel+" (labctl kernels clean removes it, and the next run makes it anew)", err)
	}
	if _, err := p.do("cont", nil); err != nil {
		p.kill()
		return p.failure(what, err)
	}
	panicked := make(chan bool, 1)
	go func() {
		if _, ok := p.await("GUEST_PANICKED"); ok {
			panicked <- true
			p.cmd.Process.Kill()
		}
	}()
	if err := carry(lines, func(b []byte) error { p.alive(); return line(b) }); err != nil {
		p.kill()
		return err
	}
	<-p.ended
	select {
	case <-panicked:
		return p.failure(what, errors.New("its kernel panicked"))
	default:
	}
	if err := p.why(ctx); err != nil {
		return p.failure(what, err)
	}
	switch p.cmd.ProcessState.ExitCode() {
	case guest.StatusDone<<1 | 1:
		return nil
	case guest.StatusFailed<<1 | 1:
		return p.failure(what, errors.New("it gave up"))
	}
	return p.failure(what, nil)
}

// mostOrder bounds what a guest is told: it has that in its memory several times.
const mostOrder = 8 << 20

// carry hands on each whole line.
func carry(from io.Reader, line func([]byte) error) error {
	r := bufio.NewReaderSize(from, 1<<16)
	for {
		b, err := r.ReadBytes('\n')
		if err == io.EOF {
			return nil // a line without its end was cut short
		}
		if err != nil {
			return fmt.Errorf("read the guest's journal: %w", err)
		}
		if err := line(b); err != nil {
			return err
		}
	}
}
