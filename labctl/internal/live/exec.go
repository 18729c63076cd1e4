package live

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Run starts a program in the lab of a folder and is its terminal until it ends.
// in, out and err are the user's. It returns the exit code that the program has
// here: its own, or 128 and the number of the signal that ended it.
//
// With a terminal as in and out the program gets one of its own, of the same size,
// and what is typed goes there as it is: Ctrl-C is the program's. Otherwise it gets
// in itself, and pipes. Signals to this process are handed on in both.
func Run(folder string, e Exec, in, out, err *os.File) (code int, failed error) {
	// Whoever reads what is printed may go away, as head does.
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
	if e.Terminal = term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd())); e.Terminal {
		return runTerminal(folder, e, in, out, err)
	}
	return runPipes(folder, e, in, out, err)
}

// program is one that runs in the lab.
type program struct {
	conn *Conn
	mu   sync.Mutex // one message at a time
}

func start(folder string, e Exec, files ...*os.File) (*program, error) {
	c, err := dial(folder, files...)
	if err != nil {
		return nil, err
	}
	if _, err := c.Ask(Request{Exec: &e}); err != nil {
		c.Close()
		return nil, err
	}
	return &program{conn: c}, nil
}

// tell sends a message. A failure means that the lab is gone, which wait tells.
func (p *program) tell(r Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn.Send(r)
}

// signals hands on the signals that this process gets, until stop.
func (p *program) signals() (stop func()) {
	c := make(chan os.Signal, 8)
	signal.Notify(c, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	go func() {
		for s := range c {
			p.tell(Request{Signal: unix.SignalName(s.(syscall.Signal))})
		}
	}()
	return func() { signal.Stop(c); close(c) }
}

// wait returns when the program has ended, with its exit code.
func (p *program) wait() (int, error) {
	var r Reply
	if err := p.conn.Receive(&r); err != nil {
		return 0, gone(err)
	}
	if r.Exited == nil {
		return 0, errors.New("the lab says nothing of the program's end")
	}
	if r.Exited.Signal != "" {
		return 128 + int(unix.SignalNum(r.Exited.Signal)), nil
	}
	return r.Exited.Code, nil
}

// pass gives the user what the program has printed, and the lab a copy. It reports
// whether the user still takes it.
func (p *program) pass(to *os.File, stream string, data []byte) bool {
	if len(data) == 0 {
		return true
	}
	_, err := to.Write(data)
	p.tell(Request{Shown: &Shown{Stream: stream, Data: data}})
	return err == nil
}

// runPipes gives the program pipes for what it prints.
func runPipes(folder string, e Exec, in, out, err *os.File) (code int, failed error) {
	outR, outW, failed := os.Pipe()
	if failed != nil {
		return 0, failed
	}
	defer outR.Close()
	defer outW.Close()
	errR, errW, failed := os.Pipe()
	if failed != nil {
		return 0, failed
	}
	defer errR.Close()
	defer errW.Close()
	p, failed := start(folder, e, in, outW, errW)
	if failed != nil {
		return 0, failed
	}
	defer p.conn.Close()
	outW.Close()
	errW.Close()
	defer p.signals()()
	var copies sync.WaitGroup
	copies.Go(func() { p.copy(outR, out, "stdout") })
	copies.Go(func() { p.copy(errR, err, "stderr") })
	code, failed = p.wait()
	// A child of the program's may keep the pipes open: what is in them now is
	// all that the program has printed.
	outR.SetReadDeadline(time.Now())
	errR.SetReadDeadline(time.Now())
	copies.Wait()
	return code, failed
}

// copy passes on what comes from a pipe, until its end or its deadline, and then
// what is left in it.
func (p *program) copy(from, to *os.File, stream string) {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if !p.pass(to, stream, buf[:n]) {
			from.Close() // the program gets SIGPIPE, as it would without us between
			return
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil {
			return
		}
	}
	from.SetReadDeadline(time.Time{})
	raw, err := from.SyscallConn()
	if err != nil {
		return
	}
	for left := 1 << 20; left > 0; { // pipe(7): no pipe holds more
		n := 0
		if err := raw.Read(func(fd uintptr) bool {
			n, err = unix.Read(int(fd), buf)
			return true
		}); err != nil || n <= 0 {
			return
		}
		p.pass(to, stream, buf[:n])
		left -= n
	}
}
