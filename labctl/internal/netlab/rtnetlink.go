package netlab

import (
	"fmt"
	"syscall"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// answerTime bounds the wait for the kernel: for an answer that comes in the
// same system call, and for work that it does by itself. Seconds are seen only
// when hundreds of labs come up at once.
const answerTime = 20 * time.Second

// request is one message to rtnetlink(7) and, for an error, what it does.
type request struct {
	what string
	*nl.NetlinkRequest
}

func newRequest(what string, typ, flags int, data ...nl.NetlinkRequestData) request {
	r := nl.NewNetlinkRequest(typ, flags)
	r.Data = data
	return request{what, r}
}

// socket is a netlink socket in the network namespace in which it was opened,
// whichever thread uses it. The library's own handles send one request and
// read one answer at a time into 64 KiB allocated for it; a lab comes up in a
// few sends instead.
type socket struct {
	fd  int
	buf []byte
	// news says that a notification was passed over while reading answers.
	news bool
}

// openSocket opens one in the calling thread's namespace.
func openSocket() (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	tv := unix.NsecToTimeval(answerTime.Nanoseconds())
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &socket{fd: fd, buf: make([]byte, 8<<10)}, nil
}

func (s *socket) close() { unix.Close(s.fd) }

// listen makes the kernel notify the socket of changes.
func (s *socket) listen(groups ...int) error {
	for _, g := range groups {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g); err != nil {
			return err
		}
	}
	return nil
}

// do sends the requests at once; the kernel carries them out in order. It does
// not stop at one that fails; the first failure is returned.
func (s *socket) do(requests ...request) error {
	_, err := s.ask(requests...)
	return err
}

// ask is do for requests with answers, which it returns in order.
func (s *socket) ask(requests ...request) ([]syscall.NetlinkMessage, error) {
	var out []byte
	for i, r := range requests {
		r.Seq = uint32(i + 1)
		if i == len(requests)-1 {
			r.Flags |= unix.NLM_F_ACK // an error is sent without being asked for
		}
		out = append(out, r.Serialize()...)
	}
	last := len(requests)
	if err := unix.Sendto(s.fd, out, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("%s: %w", requests[0].what, err)
	}
	var answers []syscall.NetlinkMessage
	var failed error
	for {
		b, notification, err := s.receive()
		if err != nil {
			return nil, fmt.Errorf("%s: no answer from the kernel: %w", requests[0].what, err)
		}
		if notification {
			s.news = true
			continue
		}
		messages, err := syscall.ParseNetlinkMessage(b)
		if err != nil {
			return nil, fmt.Errorf("%s: the kernel's answer cannot be read: %w", requests[0].what, err)
		}
		for _, m := range messages {
			i := int(m.Header.Seq)
			if i < 1 || i > last {
				continue
			}
			if m.Header.Type != unix.NLMSG_ERROR {
				answers = append(answers, m)
				continue
			}
			if len(m.Data) < 4 {
				return nil, fmt.Errorf("%s: the kernel's answer cannot be read", requests[i-1].what)
			}
			if errno := int32(nl.NativeEndian().Uint32(m.Data)); errno != 0 && failed == nil {
				failed = fmt.Errorf("%s: %w", requests[i-1].what, unix.Errno(-errno))
			}
			if i == last {
				return answers, failed
			}
		}
	}
}

// receive reads one datagram and says whether it is a notification: then it
// was sent to a group.
func (s *socket) receive() (b []byte, notification bool, err error) {
	for {
		n, from, err := unix.Recvfrom(s.fd, s.buf, unix.MSG_TRUNC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			return nil, true, nil // notifications were dropped: look again
		case err != nil:
			return nil, false, err
		}
		if sa, ok := from.(*unix.SockaddrNetlink); ok && sa.Groups != 0 {
			return nil, true, nil
		}
		if n > len(s.buf) {
			return nil, false, fmt.Errorf("it has %d bytes", n)
		}
		// What is parsed from the bytes points into them.
		return append([]byte(nil), s.buf[:n]...), false, nil
	}
}
