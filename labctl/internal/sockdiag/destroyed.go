package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// ErrMissed says that messages came faster than they were read: some are lost.
var ErrMissed = errors.New("some of the kernel's messages about sockets that are gone were lost")

// The groups of linux/sock_diag.h for TCP over IPv4 and IPv6.
const (
	destroyGroup4 = 1 // SKNLGRP_INET_TCP_DESTROY
	destroyGroup6 = 3 // SKNLGRP_INET6_TCP_DESTROY
)

// hearing is what a connection has heard of sockets that are gone.
type hearing struct {
	gone   []journal.Socket
	missed bool
}

// Hear begins to hear the kernel's messages about TCP sockets that are gone for
// good, listeners and those that no process held included. They come a moment after
// the fact. That a minisocket is gone is told by none; that a full socket became one
// is.
func (c *Conn) Hear() error {
	// The kernel grants up to net.core.rmem_max.
	unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	// Nothing would come to a socket without an address of its own, which it gets
	// with its first question, or now.
	name, err := unix.Getsockname(c.fd)
	if own, ok := name.(*unix.SockaddrNetlink); err == nil && ok && own.Pid == 0 {
		err = unix.Bind(c.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		return fmt.Errorf("give the socket for the kernel's socket tables an address: %w", err)
	}
	for _, group := range []int{destroyGroup4, destroyGroup6} {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			return fmt.Errorf("join the kernel's messages about sockets that are gone (SKNLGRP_INET_TCP_DESTROY): %w", err)
		}
	}
	c.hears = &hearing{}
	return nil
}

// Destroyed returns the sockets of all messages that have come since the last time,
// with their last addresses and without a state. It does not wait. With ErrMissed
// there are those that were not lost.
func (c *Conn) Destroyed() (gone []journal.Socket, err error) {
	if c.hears == nil {
		return nil, nil
	}
	err = c.listen()
	if err == nil && c.hears.missed {
		err = ErrMissed
	}
	gone = c.hears.gone
	*c.hears = hearing{}
	return gone, err
}

// listen takes what has come while nothing is asked, and so makes room for the
// answer to a question.
func (c *Conn) listen() error {
	for c.hears != nil {
		n, _, err := unix.Recvfrom(c.fd, c.buf, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			return nil
		case c.heard(nil, err):
		case err != nil:
			return fmt.Errorf("read the kernel's messages about sockets that are gone: %w", err)
		default:
			c.heard(c.buf[:n], nil) // what else there is was left of an answer
		}
	}
	return nil
}

// heard takes a datagram, or the error in its place, and reports whether it was of
// the kernel's messages. Those have no number, as answers do.
func (c *Conn) heard(b []byte, err error) bool {
	switch {
	case c.hears == nil:
		return false
	case err == unix.ENOBUFS:
		c.hears.missed = true
		return true
	case err != nil || len(b) < headerLen || binary.NativeEndian.Uint32(b[8:]) != 0:
		return false
	}
	c.hears.gone = append(c.hears.gone, decodeDestroyed(b)...)
	return true
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
