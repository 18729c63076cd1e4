package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// Main is "labctl agent": a program of a lab, told over its channel what to
// be. It returns the exit code.
func Main() int {
	unix.CloseOnExec(ChannelFD)
	spec, err := readSpec(ChannelFD)
	if err != nil {
		fmt.Fprintf(os.Stderr, "labctl agent is started by labctl itself, with a channel on descriptor %d\n", ChannelFD)
		return 2
	}
	p := &program{out: os.Stdout}
	if spec.Record {
		p.lab = &channel{fd: ChannelFD}
		p.rec = p.lab
	}
	switch {
	case spec.Server != nil:
		return p.serve(spec.Server)
	case spec.Client != nil:
		return p.visit(spec.Client)
	case spec.Keep != nil:
		unix.CloseOnExec(inheritedFD)
		p.born()
		p.greet(inheritedFD, spec.Keep.Index)
		p.echo(inheritedFD)
		p.close(inheritedFD)
		return 0
	case spec.Actor != nil:
		return act(p, spec.Actor)
	}
	return 2
}

// born is the first word of a forked child.
func (p *program) born() {
	if p.lab != nil {
		p.lab.send(Message{PID: os.Getpid(), Start: journal.Monotonic()})
	}
}

// Serve runs the article's server on this machine, recording nothing, and
// returns its exit code: the errno of the call that was refused.
func Serve(s *scenario.Server, out *os.File) int {
	return (&program{out: out}).serve(s)
}

// Visit runs the article's client on this machine, recording nothing, and
// returns its exit code.
func Visit(c *scenario.Client, out *os.File) int {
	return (&program{out: out}).visit(c)
}

// Environ is what an agent's process is started with: one thread that runs and
// no garbage collection, which halves the cost of starting it. (Nothing that an
// agent keeps grows.)
func Environ() []string {
	return Override(os.Environ(), "GOMAXPROCS=1", "GOGC=off", "GOMEMLIMIT=16MiB")
}

// ActorEnviron is that of an actor's process: a second thread may run, so that a
// call that waited is timed when it returns, and not when the first is free.
func ActorEnviron() []string { return Override(Environ(), "GOMAXPROCS=2") }

// Override is the environment env with the NAME=value of set in it, each name
// once: of two entries of one name, getenv(3) returns the first and shells the
// last.
func Override(env []string, set ...string) []string {
	named := func(entry string) string {
		name, _, _ := strings.Cut(entry, "=")
		return name
	}
	kept := slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		return slices.ContainsFunc(set, func(s string) bool { return named(s) == named(e) })
	})
	return append(kept, set...)
}

// Channel makes a channel: the runner's end and the agent's.
func Channel() (mine, theirs int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, -1, fmt.Errorf("make a channel to a program: %w", err)
	}
	return pair[0], pair[1], nil
}

// Tell sends the agent its spec.
func Tell(fd int, s Spec) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return unix.Sendto(fd, b, unix.MSG_NOSIGNAL, nil)
}

// fork starts a child that serves the connection, in a process of its own that
// outlives this one.
func (p *program) fork(conn, index int) error {
	return p.start(Spec{Keep: &Keep{Index: index}}, "", conn)
}

// start starts a child with copies of the descriptors, from inheritedFD on. It
// is this program again, since a Go process cannot fork without exec. name is
// that of its program, if not this one's.
func (p *program) start(spec Spec, name string, files ...int) error {
	mine, theirs, err := Channel()
	if err != nil {
		return err
	}
	defer unix.Close(mine)
	defer unix.Close(theirs)
	spec.Record = p.lab != nil
	if err := Tell(mine, spec); err != nil {
		return err
	}
	if p.lab != nil {
		p.lab.send(Message{Child: true, Name: name}, mine)
	}
	env := os.Environ() // in a lab, an agent's
	if p.lab == nil {
		env = Environ()
	}
	attr := &syscall.ProcAttr{Env: env, Files: []uintptr{0, p.out.Fd(), 2, uintptr(theirs)}}
	for _, fd := range files {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	pid, err := syscall.ForkExec("/proc/self/exe", []string{"labctl", "agent"}, attr)
	if err != nil {
		return err
	}
	go func() { // its parent has to reap it
		var status syscall.WaitStatus
		for {
			if _, err := syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
				return
			}
		}
	}()
	return nil
}
