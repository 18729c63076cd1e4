package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// Destroyed hears the kernel's messages about TCP sockets that are gone for good,
// listeners and those that no process held included. They come a moment after the
// fact. That a minisocket is gone is told by none; that a full socket became one
// is.
type Destroyed struct {
	fd  int
	buf []byte
}

// ErrMissed says that messages came faster than they were read: some are lost.
var ErrMissed = errors.New("some of the kernel's messages about sockets that are gone were lost")

// The groups SKNLGRP_INET_TCP_DESTROY (1) and SKNLGRP_INET6_TCP_DESTROY (3) of
// linux/sock_diag.h; bit 0 is group 1.
const destroyGroups = 1<<0 | 1<<2

// OpenDestroyed begins to hear them, of the calling thread's network namespace.
func OpenDestroyed() (*Destroyed, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open a socket for the kernel's messages about sockets that are gone (NETLINK_SOCK_DIAG): %w", err)
	}
	// The kernel grants up to net.core.rmem_max.
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: destroyGroups}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("join the kernel's messages about sockets that are gone (SKNLGRP_INET_TCP_DESTROY): %w", err)
	}
	return &Destroyed{fd: fd, buf: make([]byte, 8<<10)}, nil
}

// FD can be read when there are messages.
func (d *Destroyed) FD() int { return d.fd }

// Read returns the sockets of all messages that have come, with their last
// addresses and without a state. It does not wait. With ErrMissed there are those
// that were not lost.
func (d *Destroyed) Read() (gone []journal.Socket, err error) {
	for {
		n, _, e := unix.Recvfrom(d.fd, d.buf, 0)
		switch {
		case e == unix.EINTR:
		case e == unix.EAGAIN:
			return gone, err
		case e == unix.ENOBUFS:
			err = ErrMissed
		case e != nil:
			return gone, fmt.Errorf("read the kernel's messages about sockets that are gone: %w", e)
		default:
			gone = append(gone, decodeDestroyed(d.buf[:n])...)
		}
	}
}

// decodeDestroyed reads a datagram. What is no such message is passed over.
func decodeDestroyed(b []byte) (gone []journal.Socket) {
	for len(b) >= headerLen {
		n := int(binary.NativeEndian.Uint32(b))
		if n < headerLen || n > len(b) {
			return gone
		}
		typ, body := binary.NativeEndian.Uint16(b[4:]), b[headerLen:n]
		b = b[min(len(b), (n+3)&^3):]
		if typ != byFamily {
			continue
		}
		if s, err := Decode(body); err == nil {
			s.State = "" // that of an object about to be freed
			gone = append(gone, s)
		}
	}
	return gone
}

// Close gives the descriptor back.
func (d *Destroyed) Close() error { return unix.Close(d.fd) }
