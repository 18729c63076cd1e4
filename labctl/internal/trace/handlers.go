package trace

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// The kernel's timer functions that tell minisockets and request sockets apart
// from all else that has a timer.
const (
	waitHandler    = "tw_timer_handler"
	requestHandler = "reqsk_timer_handler"
)

// timerHandlers finds the addresses of both. The kernel's list hides them from who
// has no CAP_SYSLOG, as in a container (kallsyms_show_value); then they are learnt
// from sockets. It takes the program for that out of spec.
func timerHandlers(spec *ebpf.CollectionSpec, kernel *btf.Spec) (map[string]uint64, error) {
	teller := spec.Programs[observeProgTellHandler].Copy()
	delete(spec.Programs, observeProgTellHandler)
	shown, err := shownHandlers()
	if err == nil {
		return shown, nil
	}
	learnt, learnErr := learntHandlers(teller, kernel)
	if u := (*Unavailable)(nil); learnErr != nil && errors.As(err, &u) {
		u.Err = fmt.Errorf("%w, and cannot be learnt from a socket either: %w", u.Err, learnErr)
		return nil, u
	}
	return learnt, learnErr
}

// shownHandlers looks their addresses up in the kernel's own list.
func shownHandlers() (map[string]uint64, error) {
	const path = "/proc/kallsyms"
	f, err := os.Open(path)
	if err != nil {
		return nil, &Unavailable{path, plain(err), "it needs CONFIG_KALLSYMS and /proc"}
	}
	defer f.Close()
	found, err := symbols(f, waitHandler, requestHandler)
	if err != nil {
		return nil, &Unavailable{path, err, "addresses are shown to root, and with kernel.kptr_restrict to holders of CAP_SYSLOG"}
	}
	return found, nil
}

// symbols reads lines of /proc/kallsyms, "address type name [module]", until it
// has found the names. A kernel that hides its addresses writes 0 for each.
func symbols(r io.Reader, names ...string) (map[string]uint64, error) {
	found := map[string]uint64{}
	for s := bufio.NewScanner(r); len(found) < len(names); {
		if !s.Scan() {
			if err := s.Err(); err != nil {
				return nil, err
			}
			break
		}
		line := s.Bytes()
		for _, name := range names {
			if !bytes.HasSuffix(line, []byte(" "+name)) {
				continue
			}
			hex, _, _ := strings.Cut(string(line), " ")
			address, err := strconv.ParseUint(hex, 16, 64)
			if err != nil {
				return nil, fmt.Errorf("the address of %s: %w", name, err)
			}
			if address == 0 {
				return nil, fmt.Errorf("the address of %s is hidden", name)
			}
			found[name] = address
		}
	}
	for _, name := range names {
		if found[name] == 0 {
			return nil, fmt.Errorf("there is no %s", name)
		}
	}
	return found, nil
}

// learntHandlers makes a TIME_WAIT and a request socket in a network namespace that
// ends with it, and reads from their timers what they call.
func learntHandlers(teller *ebpf.ProgramSpec, kernel *btf.Spec) (found map[string]uint64, err error) {
	p, err := ebpf.NewProgramWithOptions(teller, ebpf.ProgramOptions{KernelTypes: kernel})
	if err != nil {
		return nil, refusedLoad(err)
	}
	defer p.Close()
	iterator, err := link.AttachIter(link.IterOptions{Program: p})
	if err != nil {
		return nil, &Unavailable{"iterate over the kernel's sockets (iter/tcp)", plain(err), ""}
	}
	defer iterator.Close()
	err = inOwnNamespace(func() error {
		return withTimers(func() error {
			file, err := iterator.Open()
			if err != nil {
				return fmt.Errorf("iterate over the kernel's sockets: %w", err)
			}
			defer file.Close()
			found, err = readHandlers(bufio.NewReader(file))
			return err
		})
	})
	return found, err
}

// handlerLen is the size of struct handler of observe.bpf.c.
const handlerLen = 16

// readHandlers reads records to the end, which must have told both. Any bytes are
// safe to read.
func readHandlers(r io.Reader) (map[string]uint64, error) {
	names := map[uint64]string{6: waitHandler, 12: requestHandler} // TIME_WAIT and NEW_SYN_RECV
	found := map[string]uint64{}
	var b [handlerLen]byte
	for {
		_, err := io.ReadFull(r, b[:])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("read the timers of sockets: %w", err)
		}
		if name, known := names[binary.LittleEndian.Uint64(b[:])]; known {
			found[name] = binary.LittleEndian.Uint64(b[8:])
		}
	}
	for _, name := range []string{waitHandler, requestHandler} {
		if found[name] == 0 {
			return nil, fmt.Errorf("no socket had a timer that calls %s", name)
		}
	}
	return found, nil
}

// inOwnNamespace runs f on a thread in a network namespace of its own, with lo up.
// The thread ends with it. The main thread is spared, as it cannot end.
func inOwnNamespace(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- inOwnNamespace(f) // on another, since this one is taken
			runtime.UnlockOSThread()
			return
		}
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("make a network namespace: %w", err)
		} else if err = loopbackUp(); err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("bring lo up: %w", err)
	}
	return nil
}

// withTimers runs f while the calling thread's namespace has a TIME_WAIT and a
// request socket. The one is there once both sides have read the other's FIN. The
// other stays, with the handshake done, until data comes, since its listener asked
// for that (TCP_DEFER_ACCEPT).
func withTimers(f func() error) error {
	var open []int
	defer func() {
		for _, fd := range open {
			unix.Close(fd)
		}
	}()
	stream := func() (int, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			open = append(open, fd)
			limit := unix.Timeval{Sec: 5}
			err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit), unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
		}
		return fd, err
	}
	// connected is a listener and a socket that is connected to it.
	connected := func(deferred int) (listener, client int, err error) {
		if listener, err = stream(); err != nil {
			return 0, 0, err
		}
		if client, err = stream(); err != nil {
			return 0, 0, err
		}
		err = errors.Join(unix.SetsockoptInt(listener, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, deferred),
			unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(listener, 1))
		if err != nil {
			return 0, 0, err
		}
		name, err := unix.Getsockname(listener)
		if err != nil {
			return 0, 0, err
		}
		return listener, client, unix.Connect(client, name)
	}
	steps := func() error {
		if _, _, err := connected(5); err != nil {
			return err
		}
		listener, client, err := connected(0)
		if err != nil {
			return err
		}
		server, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		if err != nil {
			return err
		}
		open = append(open, server)
		limit := unix.Timeval{Sec: 5}
		if err := unix.SetsockoptTimeval(server, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
			return err
		}
		for _, pair := range [][2]int{{server, client}, {client, server}} {
			if err := unix.Shutdown(pair[0], unix.SHUT_WR); err != nil {
				return err
			}
			if _, err := unix.Read(pair[1], make([]byte, 1)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := steps(); err != nil {
		return fmt.Errorf("make a connection on lo: %w", err)
	}
	return f()
}
