package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// destroyType is SOCK_DESTROY (linux/sock_diag.h).
const destroyType = 21

// Destroy ends a socket as ss -K does (SOCK_DESTROY): a connection is reset, its
// owner reads ECONNABORTED, a TIME_WAIT is freed. It needs CAP_NET_ADMIN over the
// network namespace. The socket is the one with the row's cookie and no other:
// ErrNotFound if that is gone. A kernel without CONFIG_INET_DIAG_DESTROY, or of before
// Linux 6.1 for a TIME_WAIT, answers EOPNOTSUPP.
func (c *Conn) Destroy(row journal.Socket) error {
	q := query{family: unix.AF_INET, states: allStates, local: row.Local, remote: row.Remote}
	if row.Family == "tcp6" {
		q.family = unix.AF_INET6
	}
	if !q.remote.IsValid() {
		q.remote = netip.AddrPortFrom(netip.Addr{}, 0)
	}
	c.seq++
	message := q.encode(c.seq)
	binary.NativeEndian.PutUint16(message[4:], destroyType)
	binary.NativeEndian.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	id := message[headerLen+8:]
	binary.NativeEndian.PutUint32(id[36:], row.Interface)
	binary.NativeEndian.PutUint32(id[40:], uint32(row.Cookie))
	binary.NativeEndian.PutUint32(id[44:], uint32(row.Cookie>>32))
	err := unix.Sendto(c.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	a := answer{seq: c.seq}
	for done := false; err == nil && !done; {
		var n int
		n, _, err = unix.Recvfrom(c.fd, c.buf, 0)
		switch {
		case err == unix.EINTR:
			err = nil
		case err == nil:
			done = a.add(c.buf[:n])
		}
	}
	if err == nil {
		err = a.err
	}
	switch {
	case errors.Is(err, unix.ENOENT):
		return ErrNotFound
	case err != nil:
		return fmt.Errorf("destroy the socket %v (SOCK_DESTROY): %w", row.Local, err)
	}
	return nil
}
