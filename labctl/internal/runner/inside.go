// Package runner is the inside of a run: PID 1 of new PID, mount and network
// namespaces (or /init of another kernel). It builds the labs of a plan, plays
// their steps on real processes, and writes the journal.
//
// It assumes the privileges that sandbox gives it: CAP_NET_ADMIN and
// CAP_SYS_ADMIN over its own namespaces. It promises that every event is
// written when it happens, and that when it ends, killed or not, the kernel
// ends every process and frees every namespace it made.
package runner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/capture"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/trace"
)

// The descriptors that the inside is started with.
const (
	ControlFD = 3 // JSON lines in: Control
	JournalFD = 4 // JSON lines out: journal.Event
	ExtraFD   = 5 // and on: what Control says
)

// Control is one line of the control stream. The first carries the plan. When
// the stream ends the outside is gone, and so must the inside be.
type Control struct {
	Plan *scenario.Plan `json:"plan,omitempty"`
	// Joined, beside a plan, are the descriptors of the network namespaces that
	// its hosts are, by host. Without it the hosts are made.
	Joined map[string]int `json:"joined,omitempty"`
	Cancel bool           `json:"cancel,omitempty"` // stop where you are, and say so
	// Paced, beside a plan, says that each step waits for a Next. Labs of a
	// paced plan take the same ones: it has one.
	Paced bool `json:"paced,omitempty"`
	Next  bool `json:"next,omitempty"` // let the next step begin
	// Door, beside a plan of one lab, is the descriptor of a control socket:
	// the lab plays no steps, and stays until it is told to end.
	Door int `json:"door,omitempty"`
	// Examine, in place of a plan, asks what this machine can do: JSON lines
	// of Finding come out in place of a journal.
	Examine bool `json:"examine,omitempty"`
}

// Main is "labctl inside". It returns the exit code: 0 when the journal tells
// all, whatever the verdicts; 3 when there is no lab to speak of.
func Main() int {
	start := journal.Monotonic()
	keepFromPrograms()
	control := json.NewDecoder(bufio.NewReader(os.NewFile(ControlFD, "control")))
	var first Control
	if err := control.Decode(&first); err != nil || first.Plan == nil && !first.Examine {
		fmt.Fprintf(os.Stderr, "labctl inside is started by labctl itself, with a plan on descriptor %d\n", ControlFD)
		return 3
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	next := make(chan struct{}, mostNext)
	go obey(control, cancel, next)

	out := os.NewFile(JournalFD, "journal")
	var err error
	in := &inside{
		clock:   journal.Since(start),
		epoch:   start,
		joined:  first.Joined,
		journal: journal.NewWriter(out, 2),
	}
	if first.Door != 0 {
		if in.door, err = openDoor(first.Door); err != nil {
			fatal(err)
		}
		in.end = cancel
	}
	if first.Paced {
		in.next = next
	}
	defaultSignals()
	if os.Getpid() == 1 {
		err = ownFilesystems()
	}
	if first.Examine {
		if err := examine(out, err); err != nil {
			fatal(err)
		}
		return 0
	}
	in.refused = err
	if err := netlab.OwnTables(); err != nil {
		in.note("%v", err)
	}
	if in.poller, err = newPoller(); err != nil {
		fatal(err)
	}
	if in.observer, err = capture.NewObserver(); err != nil {
		fatal(err)
	}
	in.layer = first.Plan.Layer
	if in.layer != scenario.LayerInferred {
		in.openTrace(ctx)
	}
	in.playAll(ctx, first.Plan)
	if err := in.journal.Err(); err != nil {
		fatal(fmt.Errorf("write the journal: %w", err))
	}
	return 0
}

// inside is what all labs of a run share.
type inside struct {
	epoch   int64 // CLOCK_MONOTONIC at the run's start, ns
	clock   journal.Clock
	journal *journal.Writer
	joined  map[string]int // as in Control
	refused error          // why there can be no lab here, as far as that is known
	poller  *poller
	crowd   *crowd
	crews   crews
	warped  bool              // the clock jumps over idle time; only in a guest
	next    chan struct{}     // one for each step that may begin; nil: all may
	door    *net.UnixListener // of a lab that stays, nil for one that plays steps
	end     func()            // ends it
	// observer reads the captures of all labs.
	observer *capture.Observer
	layer    scenario.Layer
	traced   func() (*trace.Tracer, error) // waits until the tracer is loaded; not with LayerInferred
}

func (in *inside) note(format string, args ...any) {
	in.journal.Write(journal.Event{T: in.clock(), Kind: journal.KindNote,
		Note: &journal.Note{Text: fmt.Sprintf(format, args...)}})
}

// obey follows the control stream to its end, and ends the process there: no
// one is left to read the journal. The kernel ends what the labs run.
func obey(control *json.Decoder, cancel func(), next chan<- struct{}) {
	for {
		var c Control
		if err := control.Decode(&c); err != nil {
			if !errors.Is(err, io.EOF) {
				fatal(fmt.Errorf("read the control stream: %w", err))
			}
			os.Exit(3)
		}
		if c.Cancel {
			cancel()
		}
		if c.Next {
			select {
			case next <- struct{}{}:
			default: // more than a scenario has steps
			}
		}
	}
}

// keepFromPrograms marks every descriptor but 0 to 2 to be closed in programs that
// are started: the lab's own, and what whoever started labctl had left open. An
// inherited listener would hold a port that no one sees opened.
func keepFromPrograms() {
	if unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) == nil {
		return
	}
	// Before Linux 5.11: one by one.
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		fatal(fmt.Errorf("list open descriptors: %w", err))
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
}

// defaultSignals gives every signal that labctl was started to ignore (a shell
// does that to what it starts with "&") a handler of no effect. A handler
// becomes the default action in a program that is started; being ignored would
// be inherited, and a server would not die of Ctrl-C.
func defaultSignals() {
	nowhere := make(chan os.Signal, 1)
	for s := syscall.Signal(1); s < 32; s++ {
		if signal.Ignored(s) {
			signal.Notify(nowhere, s)
		}
	}
}

// ownFilesystems gives the labs a /proc of their own, which shows the processes
// of their PID namespace and, by /proc/sys/net, the settings of their hosts.
// Mounts are made private first: under shared propagation the new /proc would
// appear over the machine's own. There is no lab without: the /proc of another PID
// namespace knows no process of this one, and so no namespace either.
func ownFilesystems() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the lab's mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount a /proc of the lab's own: %w", err)
	}
	return nil
}

// fatal ends the inside, and with it every lab. The outside prints the message.
func fatal(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(3)
}
