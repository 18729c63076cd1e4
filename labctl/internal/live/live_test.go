package live

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDoor makes a control socket where the path is longer than a socket's may be,
// and under a umask that hides nothing.
func TestDoor(t *testing.T) {
	folder := filepath.Join(t.TempDir(), strings.Repeat("a-folder-of-a-long-name/", 8))
	if err := os.MkdirAll(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Dial(folder); !errors.Is(err, ErrDown) {
		t.Errorf("without a lab: %v", err)
	}
	old := unix.Umask(0)
	door, err := MakeDoor(folder)
	unix.Umask(old)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(folder, SocketName))
	if err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket: %v, %v; want mode 0600", info.Mode(), err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	conn, err := dial(folder, r)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r.Close()

	// The other side, as the inside is it: the descriptor comes with the first byte.
	l, err := net.FileListener(door)
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.(*net.UnixListener).AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	inside, fds, err := Accept(c)
	if err != nil || len(fds) != 1 {
		t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	unix.Close(fds[0])
	if _, err := w.Write([]byte("x")); !errors.Is(err, unix.EPIPE) {
		t.Errorf("the pipe is still held by somebody: %v", err)
	}
	answer := make(chan error, 1)
	go func() {
		var q Request
		err := inside.Receive(&q)
		if err == nil && q.Table != "server" {
			err = errors.New("another request")
		}
		answer <- errors.Join(err, inside.Send(Reply{Error: "no such host"}))
	}()
	_, err = conn.Tables("server").Table(0)
	if refused := (*Refused)(nil); !errors.As(err, &refused) || refused.Why != "no such host" {
		t.Errorf("asked for a table: %v", err)
	}
	if err := <-answer; err != nil {
		t.Error(err)
	}
	c.Close()
	if _, err := conn.Ask(Request{Status: true}); !errors.Is(err, ErrGone) {
		t.Errorf("asked a lab that is gone: %v", err)
	}

	// A lab that was killed leaves its socket: whoever knocks takes it away.
	l.Close()
	door.Close()
	if err := os.WriteFile(filepath.Join(folder, "journal.jsonl"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(folder, SocketName)); err != nil {
		// Go's listener unlinks a socket that it knows by name: not this one.
		t.Fatal(err)
	}
	if _, err := Dial(folder); !errors.Is(err, ErrDown) {
		t.Errorf("a lab that was killed: %v", err)
	}
	if _, err := os.Stat(filepath.Join(folder, SocketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its socket stays: %v", err)
	}
}
