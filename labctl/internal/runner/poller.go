package runner

import (
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/agent"
)

// poller watches the descriptors of every lab on one epoll, and reaps every
// child of this process: PID 1 of the labs' namespace is handed the orphans
// too. All handlers run on its one goroutine, so that what a process wrote is
// read before its exit is told.
type poller struct {
	epoll int
	wake  int // eventfd: a child has changed

	// forking is held from before a fork until the child is known, so that
	// no exit is reaped before there is somebody to tell, and none of those
	// that ForkExec itself waits for is taken from it. It guards what follows.
	forking  sync.Mutex
	children map[int]func(unix.WaitStatus) // by PID
	// awaited counts the children that have been announced and not adopted.
	// Only then is the end of an unknown orphan kept, in early: it may be
	// one of theirs. late are the ends to be told now.
	awaited int
	early   map[int]unix.WaitStatus
	late    []func()

	packet []byte // room for a message of an agent; for handlers alone

	mu       sync.Mutex
	handlers map[int]func() // by descriptor, called when it can be read
}

func newPoller() (*poller, error) {
	p := &poller{children: map[int]func(unix.WaitStatus){}, early: map[int]unix.WaitStatus{}, handlers: map[int]func(){},
		packet: make([]byte, agent.MaxMessage)}
	var err error
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := p.watch(p.wake, p.reap); err != nil {
		return nil, err
	}
	changed := make(chan os.Signal, 1) // one is enough: reap takes all there are
	signal.Notify(changed, unix.SIGCHLD)
	go func() {
		for range changed {
			p.wakeUp()
		}
	}()
	go p.loop()
	return p, nil
}

// wakeUp makes the loop call reap. (The kernel adds to an eventfd's counter what
// is written; any number but 0 will do.)
func (p *poller) wakeUp() { unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

// watch calls handle whenever fd can be read, until forget.
func (p *poller) watch(fd int, handle func()) error {
	p.mu.Lock()
	p.handlers[fd] = handle
	p.mu.Unlock()
	err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	if err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// forget stops watching fd and closes it. Only a handler may call it.
func (p *poller) forget(fd int) {
	p.mu.Lock()
	delete(p.handlers, fd)
	p.mu.Unlock()
	unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, fd, nil)
	unix.Close(fd)
}

func (p *poller) loop() {
	events := make([]unix.EpollEvent, 64)
	for {
		n, err := unix.EpollWait(p.epoll, events, -1)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			fatal(fmt.Errorf("epoll_wait: %w", err))
		}
		for _, e := range events[:n] {
			p.mu.Lock()
			handle := p.handlers[int(e.Fd)]
			p.mu.Unlock()
			if handle != nil { // nil: an earlier handler of this round closed it
				handle()
			}
		}
	}
}

// start forks and execs while nothing is reaped. exited is called once, on the
// poller's goroutine, when the child is gone.
func (p *poller) start(path string, argv []string, attr *syscall.ProcAttr, exited func(unix.WaitStatus)) (pid int, err error) {
	p.forking.Lock()
	defer p.forking.Unlock()
	pid, err = syscall.ForkExec(path, argv, attr)
	if err == nil {
		p.children[pid] = exited
	}
	return pid, err
}

// await announces a child of somebody else's, whose PID is not known yet. adopt
// or giveUp follows.
func (p *poller) await() {
	p.forking.Lock()
	defer p.forking.Unlock()
	p.awaited++
}

// giveUp takes an await back: there is no such child.
func (p *poller) giveUp() {
	p.forking.Lock()
	defer p.forking.Unlock()
	p.arrived()
}

// arrived ends an await. forking is held.
func (p *poller) arrived() {
	if p.awaited--; p.awaited == 0 {
		clear(p.early)
	}
}

// adopt asks to be told of the end of an awaited process, which is not a child
// of this one yet, but may become one when its parent dies, and may have ended
// already.
func (p *poller) adopt(pid int, exited func(unix.WaitStatus)) {
	p.forking.Lock()
	defer p.forking.Unlock()
	status, ended := p.early[pid]
	delete(p.early, pid)
	p.arrived()
	if ended {
		p.late = append(p.late, func() { exited(status) })
		p.wakeUp()
		return
	}
	p.children[pid] = exited
}

// disown takes an adopt back.
func (p *poller) disown(pid int) {
	p.forking.Lock()
	defer p.forking.Unlock()
	delete(p.children, pid)
}

// vanished reports whether an adopted process has ended without this one's being
// told, since its parent was; it is disowned then.
func (p *poller) vanished(pid int) bool {
	p.forking.Lock()
	defer p.forking.Unlock()
	if p.children[pid] == nil || unix.Kill(pid, 0) != unix.ESRCH {
		return false
	}
	delete(p.children, pid)
	return true
}

func (p *poller) reap() {
	var count [8]byte
	unix.Read(p.wake, count[:])
	for {
		var status unix.WaitStatus
		p.forking.Lock()
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		exited := p.children[pid]
		late := p.late
		p.late = nil
		if pid > 0 {
			delete(p.children, pid)
			if exited == nil && p.awaited > 0 {
				p.early[pid] = status
			}
		}
		p.forking.Unlock()
		for _, tell := range late {
			tell()
		}
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return // no child at all, or none that has ended
		}
		if exited != nil {
			exited(status)
		}
	}
}
