package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/live"
	"restartlab/labctl/internal/scenario"
)

// hand is what a process has that somebody started by hand. Its fields but done
// are guarded by the lab's mutex.
type hand struct {
	began, ended int64         // T
	done         chan struct{} // closed at its end
	streams      map[string]*output
	terminal     transcript
}

// lastWords is how long a visitor may take to hand over what the program printed
// last. One that is stopped, or stuck, must not keep its exit untold.
const lastWords = 2 * time.Second

// exec starts a program for a visitor and stays with it to its end: signals and
// copies of what it prints come in, and its exit goes out. It closes the descriptors.
func (l *lab) exec(conn *live.Conn, e *live.Exec, fds []int) {
	p, err := l.startByHand(e, fds)
	for _, fd := range fds {
		unix.Close(fd) // the program has its own
	}
	if err != nil {
		conn.Send(live.Reply{Error: err.Error()})
		return
	}
	defer l.visits.Done()
	heard := make(chan struct{})
	conn.Send(live.Reply{PID: p.pid}) // a visitor who is gone is missed by attend
	go func() {
		defer close(heard)
		p.attend(conn)
	}()
	<-p.hand.done
	l.mu.Lock()
	end := live.Exited{Signal: p.signal}
	if p.exit != nil {
		end.Code = *p.exit
	}
	l.mu.Unlock()
	conn.Limit(lastWords)
	conn.Send(live.Reply{Exited: &end})
	<-heard
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range p.hand.streams {
		p.flush(o)
	}
	p.tellExit(p.hand.ended)
}

// attend takes what the visitor says, until they are gone. If the program runs
// then, it is told what it would be told of a terminal that is closed.
func (p *process) attend(conn *live.Conn) {
	for {
		var r live.Request
		if conn.Receive(&r) != nil {
			p.lab.mu.Lock()
			defer p.lab.mu.Unlock()
			p.send(-p.pid, unix.SIGHUP) // ESRCH: it has ended
			p.send(-p.pid, unix.SIGCONT)
			return
		}
		p.lab.mu.Lock()
		if r.Shown != nil {
			p.shown(r.Shown)
		}
		if s := unix.SignalNum(r.Signal); s != 0 {
			p.send(-p.pid, s) // as above
		}
		p.lab.mu.Unlock()
	}
}

// shown journals what the program has printed. mu is held.
func (p *process) shown(s *live.Shown) {
	o := p.hand.streams[s.Stream]
	if o == nil {
		return // no stream of a program
	}
	data := s.Data
	if s.Stream == "terminal" {
		data = p.hand.terminal.text(data, s.Columns)
	}
	p.take(o, data)
}

// startByHand starts a program for somebody, with their descriptors. One visit is
// then counted, for the caller to end.
func (l *lab) startByHand(e *live.Exec, fds []int) (*process, error) {
	if reply, ok := l.known(e.Host); !ok {
		return nil, errors.New(reply.Error)
	}
	if len(e.Argv) == 0 || len(fds) != 3 {
		return nil, fmt.Errorf("a program takes a command and 3 descriptors, not %d", len(fds))
	}
	if info, err := os.Stat(e.Dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("start %s in %s: the lab's user has no such folder", e.Argv[0], e.Dir)
	}
	path := e.Argv[0]
	if !strings.Contains(path, "/") {
		var err error
		if path, err = find(path, e.Env); err != nil {
			return nil, err
		}
	}
	attr := &syscall.ProcAttr{Dir: e.Dir, Env: agent.Override(e.Env),
		Files: []uintptr{uintptr(fds[0]), uintptr(fds[1]), uintptr(fds[2])},
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: e.Terminal, Ctty: 0}}
	p := &process{lab: l, channel: -1,
		spec: &scenario.Program{Name: filepath.Base(e.Argv[0]), Host: e.Host, Exec: &scenario.Exec{Argv: e.Argv, Dir: e.Dir}},
		hand: &hand{done: make(chan struct{}), streams: map[string]*output{}}}
	for _, stream := range []string{"stdout", "stderr", "terminal"} {
		p.hand.streams[stream] = &output{fd: -1, stream: stream}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return nil, errors.New("the lab is going down")
	}
	err := l.network.Host(e.Host).Do(func() (err error) {
		if err := handCapabilities(); err != nil {
			return err
		}
		p.pid, err = l.poller.start(path, e.Argv, attr, p.ended)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", strings.Join(e.Argv, " "), err)
	}
	l.visits.Add(1)
	l.processes = append(l.processes, p)
	p.hand.began = l.clock()
	l.emit(p.event(journal.Event{T: p.hand.began, Kind: journal.KindProcess,
		Process: &journal.Process{Phase: journal.PhaseStart, Argv: e.Argv, UID: os.Geteuid()}}))
	l.notify()
	return p, nil
}

// handCapabilities leaves to a program what it may have: of the inside's ambient
// capabilities CAP_NET_RAW alone, so that tcpdump and ping work without root. It
// changes no answer of bind, listen or connect. Root's programs are root's.
func handCapabilities() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil && err != unix.EINVAL {
		return fmt.Errorf("drop the lab's own capabilities: %w", err)
	}
	if os.Geteuid() == 0 {
		return nil
	}
	// EPERM: this user has it, but not to hand on. Then tcpdump is refused,
	// and says so.
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_RAW, 0, 0); err != nil && err != unix.EINVAL && err != unix.EPERM {
		return fmt.Errorf("leave CAP_NET_RAW to the program: %w", err)
	}
	return nil
}
