package sockdiag

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// hear waits for a message about the socket with this cookie.
func (b *bench) hear(cookie uint64) journal.Socket {
	b.t.Helper()
	deadline := time.Now().Add(answerTime)
	for time.Now().Before(deadline) {
		gone, err := b.Destroyed()
		b.must(err)
		for _, s := range gone {
			if s.Cookie == cookie {
				return s
			}
		}
		// Nothing tells when the kernel's worker has sent it but the message.
		unix.Poll([]unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}, int(answerTime.Milliseconds()))
	}
	b.t.Fatalf("no message about socket %d", cookie)
	return journal.Socket{}
}

// TestDestroyed hears of sockets of both families that are gone: of a connection,
// of which a TIME_WAIT stays, and of a listener.
func TestDestroyed(t *testing.T) {
	for name, at := range map[string]string{"IPv4": "192.168.44.144:12500", "IPv6": "[2001:db8:44::144]:12500"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			if gone, err := b.Destroyed(); len(gone) > 0 || err != nil {
				t.Errorf("without asking: %v, %v", gone, err)
			}
			b.must(b.Hear())
			listener := b.listener(at, 1)
			server, client := b.connection(listener, at)
			local, remote := b.addresses(server)
			cookie := b.cookie(server)
			unix.Close(server)
			unix.Close(client)
			if s := b.hear(cookie); s.Local != local || s.Remote != remote || s.State != "" {
				t.Errorf("%+v, want %v -> %v", s, local, remote)
			}
			if s, err := b.Lookup(local, remote); err != nil || s.State != "TIME_WAIT" || s.Cookie != cookie {
				t.Errorf("%+v, %v", s, err)
			}
			cookie = b.cookie(listener)
			// The bench closes it again at the end, as any other descriptor.
			spare, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			b.must(err)
			b.must(unix.Dup3(spare, listener, unix.O_CLOEXEC))
			unix.Close(spare)
			b.hear(cookie)
		})
	}
}

// dropped reports whether the kernel had no room for a message.
func (b *bench) dropped() (some bool) {
	b.t.Helper()
	b.on(b.server, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/netlink")
		for line := range strings.Lines(string(text)) {
			// sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode
			if f := strings.Fields(line); len(f) == 10 && f[1] == strconv.Itoa(unix.NETLINK_SOCK_DIAG) && f[8] != "0" {
				some = true
			}
		}
		return err
	})
	return some
}

// TestMissed makes more messages than there is room for, and asks questions
// meanwhile.
func TestMissed(t *testing.T) {
	const at = "192.168.44.144:12500"
	b := newBench(t)
	b.must(b.Hear())
	b.must(unix.SetsockoptInt(b.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10)) // less than it takes, to be soon done
	listener := b.listener(at, 0)
	deadline := time.Now().Add(answerTime)
	for !b.dropped() {
		if time.Now().After(deadline) {
			t.Fatal("nothing was lost")
		}
		server, client := b.connection(listener, at)
		unix.Close(server)
		unix.Close(client)
	}
	rows, err := b.Table(12500)
	if err != nil || len(rows) < 2 || rows[0].State != "LISTEN" {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if s, err := b.Lookup(rows[0].Local, rows[0].Local); !errors.Is(err, ErrNotFound) {
		t.Errorf("%+v, %v", s, err)
	}
	gone, err := b.Destroyed()
	if !errors.Is(err, ErrMissed) || len(gone) == 0 {
		t.Errorf("%d messages, %v", len(gone), err)
	}
	t.Logf("%d messages, and then: %v", len(gone), err)
	// It goes on. What the kernel's worker has put off may fill the room once more.
	for err != nil || len(gone) == 0 {
		if time.Now().After(deadline) {
			t.Fatalf("no message afterwards: %v", err)
		}
		server, client := b.connection(listener, at)
		unix.Close(server)
		unix.Close(client)
		unix.Poll([]unix.PollFd{{Fd: int32(b.fd), Events: unix.POLLIN}}, int(answerTime.Milliseconds()))
		if gone, err = b.Destroyed(); err != nil && !errors.Is(err, ErrMissed) {
			t.Fatal(err)
		}
	}
}

func FuzzDestroyed(f *testing.F) {
	f.Add([]byte{})
	f.Add(query{family: unix.AF_INET}.encode(0))
	f.Fuzz(func(t *testing.T, b []byte) { decodeDestroyed(b) })
}
