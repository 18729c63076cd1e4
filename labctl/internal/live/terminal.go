package live

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"sync/atomic"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// pseudo is a terminal for a program (pty(7)).
type pseudo struct {
	master *os.File
	path   string // of the program's side
}

// newPseudo makes one and opens the program's side.
func newPseudo() (*pseudo, *os.File, error) {
	m, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make a terminal for the program: open /dev/ptmx: %w", err)
	}
	t := &pseudo{master: os.NewFile(uintptr(m), "ptmx")}
	err = unix.IoctlSetPointerInt(m, unix.TIOCSPTLCK, 0)
	n := 0
	if err == nil {
		n, err = unix.IoctlGetInt(m, unix.TIOCGPTN)
	}
	t.path = fmt.Sprintf("/dev/pts/%d", n)
	var slave *os.File
	if err == nil {
		slave, err = t.open()
	}
	if err != nil {
		t.master.Close()
		return nil, nil, fmt.Errorf("make a terminal for the program: %w", err)
	}
	return t, slave, nil
}

// open opens the program's side.
func (t *pseudo) open() (*os.File, error) {
	fd, err := unix.Open(t.path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: t.path, Err: err}
	}
	return os.NewFile(uintptr(fd), t.path), nil
}

// resize gives it the size of the user's. The kernel tells the program (SIGWINCH).
func (t *pseudo) resize(like *os.File) {
	if size, err := unix.IoctlGetWinsize(int(like.Fd()), unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

// runTerminal gives the program a terminal of its own.
func runTerminal(folder string, e Exec, in, out, err *os.File) (code int, failed error) {
	t, slave, failed := newPseudo()
	if failed != nil {
		return 0, failed
	}
	defer t.master.Close()
	defer slave.Close()
	t.resize(out)
	files := []*os.File{slave, slave, slave}
	if !term.IsTerminal(int(err.Fd())) { // it was sent elsewhere
		files[2] = err
	}
	p, failed := start(folder, e, files...)
	if failed != nil {
		return 0, failed
	}
	defer p.conn.Close()
	slave.Close()
	before, failed := term.MakeRaw(int(in.Fd()))
	if failed != nil {
		return 0, fmt.Errorf("set the terminal up: %w", failed)
	}
	defer term.Restore(int(in.Fd()), before)
	defer p.signals()()
	sized := make(chan os.Signal, 1)
	signal.Notify(sized, unix.SIGWINCH)
	defer signal.Stop(sized)
	t.resize(out) // it may have changed since
	go func() {
		for range sized {
			t.resize(out)
		}
	}()
	over, failed := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if failed != nil {
		return 0, fmt.Errorf("set the terminal up: %w", failed)
	}
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		t.typing(in, over)
	}()
	defer func() { // what is typed from now on is for whoever comes next
		unix.Write(over, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		<-typed
		unix.Close(over)
	}()
	end := mark{text: []byte("\x1b_labctl " + rand.Text() + "\x1b\\")}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		p.show(t.master, out, &end)
	}()
	code, failed = p.wait()
	if failed != nil {
		return 0, failed
	}
	// What the program printed last may still be on its way through the kernel. A
	// mark behind it says where it ends. (The program's own side was hung up when
	// it ended, so it is opened anew; when nobody else has it the read just ends.)
	end.set.Store(true)
	last, failed := t.open()
	if failed != nil {
		return 0, failed
	}
	defer last.Close()
	unix.IoctlSetInt(int(last.Fd()), unix.TCXONC, unix.TCOON) // the user's Ctrl-S
	if _, failed := last.Write(end.text); failed != nil {
		return 0, fmt.Errorf("read the program's last output: %w", failed)
	}
	<-shown
	return code, nil
}

// typing passes on what the user types until the descriptor over can be read.
func (t *pseudo) typing(in *os.File, over int) {
	buf := make([]byte, 4096)
	wanted := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}, {Fd: int32(over), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(wanted, -1); err == unix.EINTR {
			continue
		} else if err != nil || wanted[1].Revents != 0 {
			return
		}
		n, err := in.Read(buf)
		if err != nil || n == 0 {
			return
		}
		if _, err := t.master.Write(buf[:n]); err != nil {
			return
		}
	}
}

// mark is the end of what a program printed, once it is set.
type mark struct {
	text []byte
	set  atomic.Bool
}

// show passes on what the program prints, until its terminal is closed or the mark
// comes.
func (p *program) show(master, out *os.File, end *mark) {
	buf := make([]byte, 32<<10)
	var held []byte // may be the beginning of the mark
	for {
		n, err := master.Read(buf)
		data := append(held, buf[:n]...)
		held = nil
		if i := bytes.Index(data, end.text); i >= 0 && end.set.Load() {
			p.pass(out, "terminal", data[:i])
			return
		}
		if end.set.Load() && err == nil {
			keep := min(len(data), len(end.text)-1)
			held = bytes.Clone(data[len(data)-keep:])
			data = data[:len(data)-keep]
		}
		p.pass(out, "terminal", data)
		if err != nil { // EIO: nobody has it open any more
			return
		}
	}
}
