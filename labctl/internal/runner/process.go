package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// process is one run of a program, or a child that a program forked. Its fields
// are guarded by the lab's mutex.
type process struct {
	lab  *lab
	spec *scenario.Program
	pid  int
	// parent is the process of the lab that forked this one, nil for one that
	// the lab started itself.
	parent *process

	channel  int // the runner's end of the agent's channel, -1 if none or closed
	out, err *output

	bind, listen string // "ok" or an errno's name; empty: not called yet
	connect      string // of the last connect
	connected    int    // how many were made
	refusal      string // the last refused bind, listen or connect, in words
	holders      map[string]int
	lines        []string // whole ones
	kept         int      // bytes of them
	unkept       int      // lines beyond what is kept

	exited bool
	exit   *int
	signal string

	part acting // of an actor
	hand *hand  // of one that was started by hand
}

// launch starts a program as a process of its own on its host.
func (l *lab) launch(spec *scenario.Program) (*process, error) {
	p := &process{lab: l, spec: spec, channel: -1}
	path, argv, attr, err := command(spec)
	if err != nil {
		return nil, err
	}
	// Closed on return: what the child needs of them it has inherited.
	var theirs []int
	defer func() {
		for _, fd := range theirs {
			unix.Close(fd)
		}
	}()
	null, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	theirs = append(theirs, null)
	pipe := func(stream string) (*output, error) {
		var fds [2]int
		if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
			return nil, fmt.Errorf("make a pipe for %s: %w", spec.Name, err)
		}
		unix.SetNonblock(fds[0], true)
		theirs = append(theirs, fds[1])
		return &output{fd: fds[0], stream: stream}, nil
	}
	if p.out, err = pipe("stdout"); err != nil {
		return nil, err
	}
	if spec.Exec == nil {
		mine, his, err := agent.Channel()
		if err == nil {
			theirs = append(theirs, his)
			p.channel = mine
			unix.SetNonblock(mine, true)
			err = agent.Tell(mine, what(spec))
		}
		if err != nil {
			p.release()
			return nil, err
		}
	} else if p.err, err = pipe("stderr"); err != nil {
		p.release()
		return nil, err
	}
	for _, fd := range theirs {
		attr.Files = append(attr.Files, uintptr(fd))
	}
	if spec.Exec == nil {
		// Ours says nothing on stderr, but for the last words of one that fails: they
		// go where its lines go.
		attr.Files = slices.Insert(attr.Files, 2, attr.Files[1])
	}

	// The lab is locked until the start is journalled: nothing that the
	// process does can come before it.
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.network.Host(spec.Host).Do(func() (err error) {
		// Without root the inside has capabilities that its user has not,
		// and an exec would hand the ambient ones on: the lab's programs
		// are to be refused what that user is refused (capabilities(7)).
		// EINVAL: before Linux 4.3 there are none.
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && err != unix.EINVAL {
			return fmt.Errorf("drop the lab's own capabilities: %w", err)
		}
		p.pid, err = l.poller.start(path, argv, attr, p.ended)
		return err
	})
	if err != nil {
		p.release()
		if path != argv[0] && spec.Exec != nil {
			return nil, fmt.Errorf("start %s (%s): %w", strings.Join(argv, " "), path, err)
		}
		return nil, fmt.Errorf("start %s: %w", strings.Join(argv, " "), err)
	}
	l.processes = append(l.processes, p)
	l.emit(p.event(journal.Event{Kind: journal.KindProcess,
		Process: &journal.Process{Phase: journal.PhaseStart, Argv: shownArgv(spec, argv), UID: uid(attr)}}))
	return p, p.watch()
}

// what tells an agent what to be.
func what(spec *scenario.Program) agent.Spec {
	s := agent.Spec{Server: spec.Server, Client: spec.Client, Record: true}
	if acts(spec) {
		s.Actor = &agent.Actor{}
	}
	return s
}

func (p *process) release() {
	for _, o := range []*output{p.out, p.err} {
		if o != nil {
			unix.Close(o.fd)
		}
	}
	if p.channel >= 0 {
		unix.Close(p.channel)
	}
}

func (p *process) watch() error {
	var errs []error
	for _, o := range []*output{p.out, p.err} {
		if o != nil {
			errs = append(errs, p.lab.poller.watch(o.fd, func() { p.readOutput(o) }))
		}
	}
	if p.channel >= 0 {
		errs = append(errs, p.lab.poller.watch(p.channel, p.readChannel))
	}
	return errors.Join(errs...)
}

// command is what to exec for a program.
func command(spec *scenario.Program) (path string, argv []string, attr *syscall.ProcAttr, err error) {
	attr = &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Setsid: true}}
	if spec.UID != nil && int(*spec.UID) != os.Geteuid() {
		attr.Sys.Credential = &syscall.Credential{Uid: *spec.UID, Gid: *spec.UID}
	}
	e := spec.Exec
	if e == nil {
		attr.Env = agent.Environ()
		if acts(spec) {
			attr.Env = agent.ActorEnviron()
		}
		return "/proc/self/exe", []string{"labctl", "agent"}, attr, nil
	}
	attr.Env = agent.Override(os.Environ(), e.Env...)
	attr.Dir = e.Dir
	path = e.Argv[0]
	if !strings.Contains(path, "/") {
		if path, err = find(path, attr.Env); err != nil {
			return "", nil, nil, err
		}
	}
	if e.User != "" {
		if attr.Sys.Credential, err = credential(e.User); err != nil {
			return "", nil, nil, err
		}
	}
	return path, e.Argv, attr, nil
}

// find looks a program up in the PATH that it will itself be given.
func find(name string, env []string) (string, error) {
	i := slices.IndexFunc(env, func(e string) bool { return strings.HasPrefix(e, "PATH=") })
	if i < 0 {
		return "", fmt.Errorf("start %s: its environment has no PATH; name it by its path", name)
	}
	list := strings.TrimPrefix(env[i], "PATH=")
	for _, dir := range filepath.SplitList(list) {
		path, err := filepath.Abs(filepath.Join(dir, name))
		if err != nil {
			return "", err
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("start %s: no program of this name in its PATH (%s)", name, list)
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("no user %q on this machine", name)
		}
	}
	uid, _ := strconv.ParseUint(u.Uid, 10, 32)
	gid, _ := strconv.ParseUint(u.Gid, 10, 32)
	if int(uid) == os.Geteuid() {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("run as user %s: a lab without root has only your own user; run labctl as root (sudo)", name)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func uid(attr *syscall.ProcAttr) int {
	if c := attr.Sys.Credential; c != nil {
		return int(c.Uid)
	}
	return os.Geteuid()
}

// shownArgv is the command line that a reader can type: for the lab's own
// programs that of labctl server and labctl client.
func shownArgv(spec *scenario.Program, argv []string) []string {
	switch {
	case spec.Server != nil:
		return spec.Server.Argv()
	case spec.Client != nil:
		return spec.Client.Argv()
	}
	return argv
}

// event fills in whose event it is.
func (p *process) event(e journal.Event) journal.Event {
	e.Host, e.Program, e.PID = p.spec.Host, p.spec.Name, p.pid
	return e
}

// readChannel takes what the agent has said since.
func (p *process) readChannel() {
	buf := p.lab.poller.packet
	oob := make([]byte, unix.CmsgSpace(4))
	for p.channel >= 0 {
		n, oobn, _, _, err := unix.Recvmsg(p.channel, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			return
		case err != nil || n == 0:
			p.hangUp()
			return
		}
		var m agent.Message
		if err := json.Unmarshal(buf[:n], &m); err != nil {
			fatal(fmt.Errorf("a message of %s cannot be read: %w", p.spec.Name, err))
		}
		p.heard(m, oob[:oobn])
	}
}

// hangUp is the end of the channel: the process is gone, or about to be. The
// exit of a forked child is told to its parent, not to us: its channel is how we
// know.
func (p *process) hangUp() {
	p.lab.mu.Lock()
	defer p.lab.mu.Unlock()
	p.lab.poller.forget(p.channel)
	p.channel = -1
	switch {
	case p.parent == nil || p.exited:
	case p.pid == 0:
		p.lab.poller.giveUp() // its parent died before there was a child
	case !p.parent.exited:
		p.lab.poller.disown(p.pid)
		p.gone()
	case p.lab.poller.vanished(p.pid): // its parent reaped it, and died too
		p.gone()
	}
}

// heard journals a message of the agent. After a refused bind or listen it
// reads the socket table before the agent may go on.
func (p *process) heard(m agent.Message, oob []byte) {
	l := p.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	if m.Child {
		p.forking(oob, m.Name)
	}
	if m.PID != 0 {
		p.forked(m.PID, m.Start-l.epoch)
	}
	if m.Seq != 0 {
		p.part.answer(m)
	}
	if m.Syscall == nil {
		l.notify()
		return
	}
	s := m.Syscall
	if s.Of != "" && s.Socket != nil && s.Socket.Cookie != 0 {
		l.cookies[s.Of] = s.Socket.Cookie
	}
	s.Start -= l.epoch
	e := p.event(journal.Event{T: s.Start + s.Duration, Kind: journal.KindSyscall, Syscall: s})
	n := l.emit(e)
	answer := "ok"
	if s.Failed() {
		answer = s.Errno
	}
	switch s.Name {
	case "bind":
		p.bind = answer
	case "listen":
		p.listen = answer
	case "connect":
		p.connect = answer
		if s.Failed() {
			p.refusal = refusalText(s, p.spec)
		} else {
			p.connected++
		}
	}
	if m.Wait {
		p.holders = l.holders(p.spec.Host, n, e)
		p.refusal = refusalText(s, p.spec)
		unix.Write(p.wire(), []byte{1})
	}
	l.notify()
}

func refusalText(s *journal.Syscall, spec *scenario.Program) string {
	what := s.Name
	if a := s.Args.Address; a.IsValid() {
		what += " " + a.String()
	} else if s.Socket != nil && s.Socket.Local.IsValid() {
		what += " on " + s.Socket.Local.String()
	}
	return fmt.Sprintf("%s by %s on %s: %s (%d)", what, spec.Name, spec.Host, s.Errno, s.Number)
}

// forking takes the channel of a child that the agent is about to fork. There
// is no process before the child speaks: the agent may be killed first.
func (p *process) forking(oob []byte, name string) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		fatal(fmt.Errorf("%s forks, but sent no channel: %v", p.spec.Name, err))
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		fatal(fmt.Errorf("%s forks, but sent %d channels: %v", p.spec.Name, len(fds), err))
	}
	unix.SetNonblock(fds[0], true)
	spec := p.spec
	if name != "" { // a program of its own, which inherits
		if spec = p.lab.program(name); spec == nil {
			spec = &scenario.Program{Name: name, Host: p.spec.Host, UID: p.spec.UID}
		}
	}
	child := &process{lab: p.lab, spec: spec, parent: p, channel: fds[0]}
	p.lab.poller.await()
	if err := child.watch(); err != nil {
		fatal(err)
	}
}

// forked is the first word of a forked child: from now on it is a process of
// the lab.
func (p *process) forked(pid int, t int64) {
	p.pid = pid
	p.lab.poller.adopt(pid, p.ended)
	p.lab.processes = append(p.lab.processes, p)
	p.lab.emit(p.event(journal.Event{T: t, Kind: journal.KindProcess, Process: &journal.Process{
		Phase: journal.PhaseStart, Argv: []string{"labctl", "agent"}, Parent: p.parent.pid, UID: userOf(p.spec)}}))
}

// userOf is the user whom a program without an exec runs as.
func userOf(spec *scenario.Program) int {
	if spec.UID != nil {
		return int(*spec.UID)
	}
	return os.Geteuid()
}

// ended is the exit of the process, told by the reaper.
func (p *process) ended(status unix.WaitStatus) {
	// All that it wrote stands in its pipes by now: read that first.
	for _, o := range []*output{p.out, p.err} {
		if o != nil {
			p.drain(o)
		}
	}
	if p.channel >= 0 {
		p.readChannel()
	}
	p.lab.mu.Lock()
	defer p.lab.mu.Unlock()
	for _, o := range []*output{p.out, p.err} {
		if o != nil {
			p.flush(o)
		}
	}
	if p.exited {
		return
	}
	if status.Signaled() {
		p.signal = unix.SignalName(status.Signal())
	} else {
		code := status.ExitStatus()
		p.exit = &code
	}
	p.gone()
}

// gone journals the exit, once.
func (p *process) gone() {
	p.exited = true
	if p.hand != nil {
		p.hand.ended = p.lab.clock()
		close(p.hand.done)
		p.lab.notify()
		return // its exit is told when all that it printed has come
	}
	p.tellExit(0)
	p.lab.notify()
}

// tellExit journals the exit, at t or now. mu is held.
func (p *process) tellExit(t int64) {
	if p.unkept > 0 {
		p.lab.emit(p.event(journal.Event{Kind: journal.KindNote, Note: &journal.Note{Text: fmt.Sprintf(
			"%s printed more than is kept of one process (%d lines, %d MiB): %d lines are not recorded",
			p.spec.Name, mostLines, mostBytes>>20, p.unkept)}}))
	}
	p.lab.emit(p.event(journal.Event{T: t, Kind: journal.KindProcess,
		Process: &journal.Process{Phase: journal.PhaseExit, Exit: p.exit, Signal: p.signal}}))
}

// kill sends a signal; ESRCH when the process is gone. The PID cannot be
// another's: the reaper, which frees it, marks the process first or is
// kept out by the forking lock.
func (p *process) kill(s unix.Signal) error { return p.send(p.pid, s) }

// send is kill for the process, or its process group: to is its negative number
// then.
func (p *process) send(to int, s unix.Signal) error {
	p.lab.poller.forking.Lock()
	defer p.lab.poller.forking.Unlock()
	if p.exited || p.lab.poller.children[p.pid] == nil {
		return unix.ESRCH
	}
	if err := unix.Kill(to, s); err != nil {
		return err
	}
	p.lab.emit(p.event(journal.Event{Kind: journal.KindProcess,
		Process: &journal.Process{Phase: journal.PhaseSignal, Signal: unix.SignalName(s)}}))
	return nil
}
