package capture

import (
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// stamps keeps the kernel's time stamps of frames switched on. That is a switch
// of the whole machine, on while any socket wants stamps, and thrown by a kernel
// thread some time after the first socket has asked (net_enable_timestamp). A
// frame that came before has no stamp and is given the time at which it is read
// (__sock_recv_timestamp), which would be wrong.
type stamps struct {
	socket int // wants stamps for as long as the process lives

	mu sync.Mutex
	on bool // seen
}

func newStamps() (*stamps, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket that wants time stamps: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set SO_TIMESTAMPNS: %w", err)
	}
	return &stamps{socket: fd}, nil
}

// wait returns when frames are stamped as they come. It sends datagrams to
// itself by lo, which must be up in the calling thread's network namespace, until
// the stamp of one is earlier than its reading.
func (s *stamps) wait() error {
	const (
		patience = 5 * time.Second
		again    = 200 * time.Microsecond
	)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.on {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket to try time stamps with: %w", err)
	}
	defer unix.Close(fd)
	if err := toItself(fd); err != nil {
		return fmt.Errorf("try time stamps by lo: %w", err)
	}
	for end := time.Now().Add(patience); !s.on; time.Sleep(again) {
		if s.on, err = stamped(fd); err != nil {
			return fmt.Errorf("try time stamps by lo: %w", err)
		}
		if !s.on && time.Now().After(end) {
			return fmt.Errorf("the kernel did not begin to stamp frames within %s", patience)
		}
	}
	return nil
}

// toItself makes fd a socket that gets what it sends, stamped.
func toItself(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return err
	}
	second := unix.Timeval{Sec: 1} // for a datagram that is lost
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &second); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	self, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	return unix.Connect(fd, self)
}

// stamped sends a datagram and reports whether it was stamped before it was read.
func stamped(fd int) (bool, error) {
	if _, err := unix.Write(fd, []byte{0}); err != nil {
		return false, err
	}
	var reading unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &reading); err != nil {
		return false, err
	}
	var data [1]byte
	var control [controlSize]byte
	_, n, _, _, err := unix.Recvmsg(fd, data[:], control[:], 0)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	at, ok := stampOf(control[:n])
	return ok && at < reading.Nano(), nil
}

// controlSize is room for the control message of SO_TIMESTAMPNS.
const controlSize = 64

// stampOf reads that message: CLOCK_REALTIME ns.
func stampOf(control []byte) (int64, bool) {
	var stamp unix.Timespec
	at := unix.CmsgLen(0)
	if len(control) < unix.CmsgLen(int(unsafe.Sizeof(stamp))) {
		return 0, false
	}
	header := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if header.Level != unix.SOL_SOCKET || header.Type != unix.SCM_TIMESTAMPNS {
		return 0, false
	}
	stamp = *(*unix.Timespec)(unsafe.Pointer(&control[at]))
	return stamp.Nano(), true
}
