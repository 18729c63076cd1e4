package netlab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/netlab/netlabtest"
)

// netnsOf identifies the calling thread's network namespace.
func netnsOf() (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat("/proc/thread-self/ns/net", &st)
	return st.Ino, err
}

func TestDoBringsTheThreadBack(t *testing.T) {
	netlabtest.Need(t)
	home, err := netnsOf()
	if err != nil {
		t.Fatal(err)
	}
	n := newNetwork(t, pair()...)
	server, client := n.Host("server"), n.Host("client")
	in := map[*Host]uint64{}
	for _, h := range []*Host{server, client} {
		if err := h.Do(func() (err error) { in[h], err = netnsOf(); return err }); err != nil {
			t.Fatal(err)
		}
	}
	if in[server] == home || in[client] == home || in[server] == in[client] {
		t.Fatalf("namespaces: home %d, %v", home, in)
	}
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 20 {
				err := server.Do(func() error {
					return client.Do(func() error {
						if ns, err := netnsOf(); ns != in[client] || err != nil {
							return fmt.Errorf("within Do within Do: namespace %d, %v", ns, err)
						}
						if unix.Gettid() == os.Getpid() {
							return errors.New("Do runs on the main thread")
						}
						return nil
					})
				})
				if ns, e := netnsOf(); err != nil || e != nil || ns != home {
					t.Errorf("%v; after Do: namespace %d, want %d, %v", err, ns, home, e)
				}
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	if ns := must(os.Stat("/proc/self/ns/net")).Sys().(*syscall.Stat_t).Ino; ns != home {
		t.Errorf("the main thread is in namespace %d, want %d", ns, home)
	}
	for _, task := range must(filepath.Glob("/proc/self/task/*/ns/net")) {
		var st unix.Stat_t
		if err := unix.Stat(task, &st); err == nil && st.Ino != home {
			t.Errorf("thread %s is still in another namespace", task)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestDoPassesOnWhatHappened(t *testing.T) {
	netlabtest.Need(t)
	n := newNetwork(t, pair()...)
	h := n.Host("server")
	wrong := errors.New("wrong")
	if err := h.Do(func() error { return wrong }); err != wrong {
		t.Errorf("got %v", err)
	}
	if err := h.Do(func() error { runtime.Goexit(); return nil }); !errors.Is(err, errEnded) {
		t.Errorf("a function that does not return: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := h.Do(func() error { return nil }); !errors.Is(err, unix.EBADF) {
		t.Errorf("Do on a closed network: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// onOwnThread must end a thread that it cannot put back; closing its way home
// is how that happens here.
func TestAThreadThatCannotReturnEnds(t *testing.T) {
	netlabtest.Need(t)
	n := newNetwork(t, pair()...)
	var tid int
	err := n.Host("server").Do(func() error {
		tid = unix.Gettid()
		for fd := 3; fd < 256; fd++ {
			link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
			if strings.HasPrefix(link, "net:") && fd != n.hosts[0].NS() && fd != n.hosts[1].NS() {
				unix.Close(fd)
			}
		}
		return nil
	})
	if !errors.Is(err, unix.EBADF) || !strings.Contains(err.Error(), "return from a host's network namespace") {
		t.Fatalf("got %v", err)
	}
	task := fmt.Sprintf("/proc/self/task/%d", tid)
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		if _, err := os.Stat(task); errors.Is(err, syscall.ENOENT) {
			return
		}
	}
	t.Error("the thread lives on in another namespace")
}
