// Package sandbox starts the inside of a run and carries control in and the
// journal out. It is the outside's half: an ordinary process that needs no
// privilege where user namespaces are allowed.
//
// It promises that nothing of a run outlives it: the inside is PID 1 of a PID
// namespace of its own, is killed by the kernel when this process dies, and
// takes every process, namespace and mount of the lab with it. Nothing of a lab
// has a name on the machine.
package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/runner"
	"restartlab/labctl/internal/scenario"
)

// Run plays the plan in an inside of its own. It writes the header and then
// each event's line to out as it comes, and hands the event to see afterwards,
// which must not block for long. When ctx is cancelled the inside is told to
// stop where it is and to say so.
//
// The error is nil when the inside has told all in the journal, whatever its
// verdict; a *Refused when this machine does not allow labs.
func Run(ctx context.Context, plan scenario.Plan, header journal.Header, out io.Writer, see func(journal.Event)) error {
	return RunWith(ctx, With{}, plan, header, out, see)
}

// With is what a run may have besides its plan.
type With struct {
	// Join, if not nil, is what the hosts are that were there before.
	Join *Join
	// Next, if not nil, holds the lab before each step until one comes.
	Next <-chan struct{}
	// Door, if not nil, is the control socket of a plan's only lab, which then
	// plays no steps and stays until it is told to end.
	Door *os.File
}

// files are what the inside inherits, door is the number it has the door by.
func (w With) files() (files []*os.File, door int) {
	files = w.Join.files()
	if w.Door != nil {
		door = runner.ExtraFD + len(files)
		files = append(files, w.Door)
	}
	return files, door
}

// RunWith is Run with more.
func RunWith(ctx context.Context, with With, plan scenario.Plan, header journal.Header, out io.Writer, see func(journal.Event)) error {
	rootless := !privileged()
	header.Rootless = rootless
	files, door := with.files()
	in, err := start(rootless, files, "inside")
	if err != nil {
		return err
	}
	first := journal.Event{N: 1, Kind: journal.KindHeader, Header: &header}
	line, err := json.Marshal(first)
	if err == nil {
		_, err = out.Write(append(line, '\n'))
	}
	if err != nil {
		in.kill()
		return fmt.Errorf("write the journal: %w", err)
	}
	see(first)

	told := make(chan error, 1)
	go func() {
		told <- in.tell(runner.Control{Plan: &plan, Joined: with.Join.descriptors(), Paced: with.Next != nil, Door: door})
		in.pace(with.Next)
	}()
	stop := context.AfterFunc(ctx, func() {
		in.tell(runner.Control{Cancel: true}) // a failure means that it has ended
		grace := time.NewTimer(cancelGrace)   // it answers within its own deadlines, or not at all
		defer grace.Stop()
		select {
		case <-grace.C:
			in.kill()
		case <-in.over:
		}
	})
	defer stop()

	readErr := in.carry(out, see)
	if readErr != nil {
		in.kill()
	}
	in.control.Close()
	exitErr := in.wait()
	switch {
	case readErr != nil:
		return readErr
	case exitErr != nil && ctx.Err() == nil:
		return exitErr
	case ctx.Err() == nil:
		return <-told
	}
	return nil
}

// pace hands on what lets the lab's steps begin, until the inside is gone.
func (in *insider) pace(next <-chan struct{}) {
	for {
		select {
		case _, open := <-next:
			if !open {
				next = nil
			} else if in.tell(runner.Control{Next: true}) != nil {
				return // it is gone
			}
		case <-in.over:
			return
		}
	}
}

// cancelGrace is how long a cancelled inside may take to end its programs.
const cancelGrace = 15 * time.Second

// insider is an inside that runs.
type insider struct {
	control *os.File // write end
	journal *os.File // read end
	stray   *os.File // read end of its stdout and stderr

	telling sync.Mutex // one control line at a time

	mu     sync.Mutex
	pid    int  // another's, perhaps, once it is reaped
	reaped bool // guarded by mu

	over chan struct{} // closed when it is reaped; exit is set then
	exit error
}

// start runs this program again as PID 1 of new namespaces. With rootless it
// makes a user namespace first, in which it keeps its own identity and holds
// the capabilities that labs need: programs see the user that they belong to,
// and a chown to root fails as it does outside. It inherits the extra files as
// descriptors from runner.ExtraFD on.
func start(rootless bool, extra []*os.File, argv ...string) (*insider, error) {
	control, journalPipe, stray, err := pipes()
	if err != nil {
		return nil, err
	}
	closeAll := func(fs ...*os.File) {
		for _, f := range fs {
			f.Close()
		}
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer closeAll(null, control.read, journalPipe.write, stray.write)
	attr := &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), stray.write.Fd(), stray.write.Fd(), control.read.Fd(), journalPipe.write.Fd()},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET,
			Setsid:     true, // Ctrl-C at the terminal is for the outside alone
			Pdeathsig:  unix.SIGKILL,
		},
	}
	for _, f := range extra {
		attr.Files = append(attr.Files, f.Fd())
	}
	if rootless {
		attr.Sys.Cloneflags |= unix.CLONE_NEWUSER
		attr.Sys.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.Sys.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		attr.Sys.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN}
	}
	in := &insider{over: make(chan struct{}), control: control.write, journal: journalPipe.read, stray: stray.read}
	started := make(chan error)
	go func() {
		// Pdeathsig is the death of this thread: it lives as long as the
		// inside does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		pid, err := syscall.ForkExec("/proc/self/exe", append([]string{"labctl"}, argv...), attr)
		in.pid = pid
		started <- err
		if err == nil {
			in.exit = in.reap()
			close(in.over)
		}
	}()
	if err := <-started; err != nil {
		closeAll(control.write, journalPipe.read, stray.read)
		return nil, refusedStart(err, rootless)
	}
	return in, nil
}

// kill ends the inside and all that is in it, if it has not ended.
func (in *insider) kill() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.reaped {
		unix.Kill(in.pid, unix.SIGKILL)
	}
}

type pipe struct{ read, write *os.File }

// pipes makes the three pipes of an inside, or none.
func pipes() (control, journal, stray pipe, err error) {
	var made []*os.File
	for _, p := range []*pipe{&control, &journal, &stray} {
		if p.read, p.write, err = os.Pipe(); err != nil {
			for _, f := range made {
				f.Close()
			}
			return control, journal, stray, fmt.Errorf("make a pipe to the lab: %w", err)
		}
		made = append(made, p.read, p.write)
	}
	return control, journal, stray, nil
}

func (in *insider) tell(c runner.Control) error {
	line, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("write the plan: %w", err)
	}
	in.telling.Lock()
	defer in.telling.Unlock()
	if _, err := in.control.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("hand the plan to the lab: %w", err)
	}
	return nil
}

// carry copies the journal, line by line, until the inside closes it.
func (in *insider) carry(out io.Writer, see func(journal.Event)) error {
	defer in.journal.Close()
	r := bufio.NewReaderSize(in.journal, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			return nil // a line without its end was cut short by a kill
		}
		if err != nil {
			return fmt.Errorf("read the lab's journal: %w", err)
		}
		if _, err := out.Write(line); err != nil {
			return fmt.Errorf("write the journal: %w", err)
		}
		var e journal.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("the lab wrote a line that is no event: %w", err)
		}
		see(e)
	}
}

// reap waits for the inside to end and says how it did: nil for exit code 0.
func (in *insider) reap() error {
	var tail bytes.Buffer
	io.Copy(&tail, io.LimitReader(in.stray, 64<<10))
	io.Copy(io.Discard, in.stray)
	in.stray.Close()
	// Its number stays its own until it is reaped: wait first, then reap under
	// the lock that kill takes.
	for unix.Waitid(unix.P_PID, in.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
	in.mu.Lock()
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(in.pid, &status, 0, nil); err != unix.EINTR {
			break
		}
	}
	in.reaped = true
	in.mu.Unlock()
	said := strings.TrimSpace(tail.String())
	switch {
	case status.Signaled():
		return fmt.Errorf("the lab's first process was ended by %s%s", unix.SignalName(status.Signal()), after(said))
	case status.ExitStatus() != 0:
		if said == "" {
			said = fmt.Sprintf("the lab's first process exited with code %d", status.ExitStatus())
		}
		return errors.New(said)
	}
	return nil
}

func after(said string) string {
	if said == "" {
		return ""
	}
	return ": " + said
}

func (in *insider) wait() error {
	<-in.over
	return in.exit
}
