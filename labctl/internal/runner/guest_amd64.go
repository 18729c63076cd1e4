package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime/debug"

	"restartlab/labctl/internal/capture"
	"restartlab/labctl/internal/guest"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/sockdiag"
	"restartlab/labctl/internal/trace"
)

// Guest is the inside of a run in a kernel of its own: /init of its machine. All
// that can be made ready before the plan is known is made ready first; then the
// machine stops, and is saved. Each run goes on from there. Nobody can cancel it:
// the outside ends the machine. It does not return.
func Guest() int {
	machine, err := guest.Boot()
	if machine == nil {
		fatal(err) // the kernel panics then: its first process is gone
	}
	keepFromPrograms()
	defaultSignals()
	if err != nil {
		machine.Stop(guest.Prepared{Lacks: err.Error()})
	}
	about := guest.About()
	in, err := prepared()
	if err != nil {
		about.Lacks = err.Error()
	}
	order, err := machine.Stop(about)
	if err == nil {
		err = in.follow(order, machine)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "labctl:", err)
		machine.End(guest.StatusFailed)
	}
	machine.End(guest.StatusDone)
	return 0
}

// prepared makes an inside that has no plan and no journal yet, and tries what
// every lab needs. That also makes the kernel stamp frames.
func prepared() (*inside, error) {
	in := &inside{}
	err := netlab.OwnTables()
	if err != nil {
		return nil, err
	}
	if in.poller, err = newPoller(); err != nil {
		return nil, err
	}
	if in.observer, err = capture.NewObserver(); err != nil {
		return nil, err
	}
	tracer, traceErr := trace.OpenWoken(0)
	in.traced = func() (*trace.Tracer, error) { return tracer, traceErr }
	network, err := netlab.New([]scenario.Host{{Name: "server"}, {Name: "client"}})
	if err != nil {
		return nil, fmt.Errorf("build two hosts: %w", err)
	}
	defer network.Close()
	host := network.Host("server")
	err = host.Do(func() error {
		diag, err := sockdiag.Open()
		if err != nil {
			return err
		}
		defer diag.Close()
		if _, err := diag.Table(0); err != nil {
			return err
		}
		tap, err := in.observer.Open(capture.Place{Host: host.Name(), Interface: host.Interface(), Index: host.InterfaceIndex()}, func(journal.Event) {})
		if err == nil {
			tap.Close()
		}
		return err
	})
	debug.FreeOSMemory() // the kernel's types were needed only to load the tracer
	return in, err
}

// follow plays the plan of the order and writes its journal to the machine.
func (in *inside) follow(o guest.Order, machine *guest.Machine) error {
	var plan scenario.Plan
	if err := json.Unmarshal(o.Plan, &plan); err != nil {
		return fmt.Errorf("the plan cannot be read: %w", err)
	}
	in.epoch = journal.Monotonic()
	in.clock = journal.Since(in.epoch)
	in.journal = journal.NewWriter(machine, 2)
	in.warped, in.layer = o.Warp, plan.Layer
	if tracer, err := in.traced(); err == nil {
		tracer.CountFrom(in.epoch)
		go func() {
			if err := tracer.RunWoken(); err != nil {
				in.note("state changes are told only at the end of each step: %v", err)
			}
		}()
	}
	in.playAll(context.Background(), &plan)
	return in.journal.Err()
}
