package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// A lab that only binds sends no segment and needs no second host, no link, no
// capture and no process of its own: one namespace, and a share of a process that makes
// the calls of all such labs of one user. A thousand of them take seconds.

// onlyBinds reports whether a lab is such, and on which host.
func onlyBinds(plan *scenario.Lab) (host scenario.Host, ok bool) {
	on := ""
	for _, s := range plan.Steps {
		at := s.Host
		switch s.Verb {
		case scenario.VerbBind, scenario.VerbListen, scenario.VerbClose, scenario.VerbSetsockopt, scenario.VerbHold:
			if s.Verb == scenario.VerbHold && s.Hold != "BOUND" && s.Hold != "LISTEN" {
				return host, false
			}
			i := slices.IndexFunc(plan.Sockets, func(k scenario.Socket) bool { return k.Name == s.Socket })
			if i < 0 || plan.Sockets[i].Made || slices.ContainsFunc(slices.Concat(plan.Sockets[i].Options, s.Options), ofDevice) {
				return host, false
			}
			at = plan.Sockets[i].Host
		case scenario.VerbNetstat:
		default:
			return host, false
		}
		if on != "" && at != on {
			return host, false
		}
		on = at
	}
	for _, p := range plan.Programs {
		if !acts(&p) && p.Host == on {
			return host, false // none starts it, but whoever reads the plan may wonder
		}
	}
	i := slices.IndexFunc(plan.Hosts, func(h scenario.Host) bool { return h.Name == on })
	if i < 0 {
		return host, false
	}
	for _, s := range plan.Hosts[i].Sysctls {
		if strings.Contains(s.Name, "eth0") {
			return host, false
		}
	}
	return plan.Hosts[i], true
}

// ofDevice reports whether an option names an interface: on one host alone the
// addresses are on lo, and link and lo would be the same.
func ofDevice(o scenario.Option) bool {
	return o.Level == unix.SOL_SOCKET && (o.Opt == unix.SO_BINDTODEVICE || o.Opt == unix.SO_BINDTOIFINDEX)
}

// crew is a process that makes the calls of many labs for one user.
type crew struct {
	pid     int
	channel int

	mu    sync.Mutex
	last  int
	views map[int]*process // by the number that commands and answers carry
}

// crews are those of an inside.
type crews struct {
	mu    sync.Mutex
	byUID map[int]*crew
}

// crew is that of a user, started at the first need.
func (in *inside) crew(uid int) (*crew, error) {
	in.crews.mu.Lock()
	defer in.crews.mu.Unlock()
	if c := in.crews.byUID[uid]; c != nil {
		return c, nil
	}
	mine, theirs, err := agent.Channel()
	if err != nil {
		return nil, err
	}
	defer unix.Close(theirs)
	if err := agent.Tell(mine, agent.Spec{Actor: &agent.Actor{Shared: true}, Record: true}); err != nil {
		unix.Close(mine)
		return nil, err
	}
	attr := &syscall.ProcAttr{
		Env:   agent.ActorEnviron(),
		Files: []uintptr{0, 2, 2, uintptr(theirs)},
		// To enter the namespaces of labs, and for nothing else: it weighs in none
		// of the calls that it makes.
		Sys: &syscall.SysProcAttr{Setsid: true, AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN}},
	}
	if uid != os.Geteuid() {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	c := &crew{channel: mine, views: map[int]*process{}}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // without the other capabilities: it ends with its goroutine
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		if err == nil {
			c.pid, err = in.poller.start("/proc/self/exe", []string{"labctl", "agent"}, attr, func(status unix.WaitStatus) {
				fatal(fmt.Errorf("the process that makes the calls of labs that only bind has ended (wait status %#x)", status))
			})
		}
		started <- err
	}()
	if err := <-started; err != nil {
		unix.Close(mine)
		return nil, fmt.Errorf("start a process for the labs that only bind: %w", err)
	}
	unix.SetNonblock(mine, true)
	if in.crews.byUID == nil {
		in.crews.byUID = map[int]*crew{}
		in.note("labs that only bind share a process for each user: it starts and exits in a lab's events when the lab begins and ceases to use it")
	}
	in.crews.byUID[uid] = c
	return c, in.poller.watch(mine, func() { c.read(in.poller.packet) })
}

// read takes what the process has said since, and hands it to whom it is for.
func (c *crew) read(buf []byte) {
	for {
		n, _, err := unix.Recvfrom(c.channel, buf, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil || n == 0: // its end is the reaper's to tell
			return
		}
		var m agent.Message
		if err := json.Unmarshal(buf[:n], &m); err != nil {
			fatal(fmt.Errorf("a message of the process that labs share cannot be read: %w", err))
		}
		c.mu.Lock()
		p := c.views[m.Lab]
		c.mu.Unlock()
		if p != nil {
			p.heard(m, nil)
		}
	}
}

// join makes a program of the lab a share of the process of its user.
func (l *lab) join(spec *scenario.Program) (*process, error) {
	c, err := l.crew(userOf(spec))
	if err != nil {
		return nil, err
	}
	p := &process{lab: l, spec: spec, pid: c.pid, channel: -1}
	c.mu.Lock()
	c.last++
	p.part.crew, p.part.number = c, c.last
	c.views[c.last] = p
	c.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.processes = append(l.processes, p)
	l.emit(p.event(journal.Event{Kind: journal.KindProcess,
		Process: &journal.Process{Phase: journal.PhaseStart, Argv: []string{"labctl", "agent"}, UID: userOf(spec)}}))
	return p, nil
}

// part lets go of the sockets that the shared process has for the lab.
func (l *lab) part(deadline int64) error {
	var errs []error
	for _, p := range l.processes {
		c := p.part.crew
		if c == nil {
			continue
		}
		if err := l.command(p, agent.Command{Verb: agent.VerbEnd}, deadline); err != nil {
			errs = append(errs, fmt.Errorf("end the sockets of %s: %w", p.spec.Name, err))
		}
		c.mu.Lock()
		delete(c.views, p.part.number)
		c.mu.Unlock()
		l.mu.Lock()
		p.gone()
		l.mu.Unlock()
	}
	return errors.Join(errs...)
}
