package occupant

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/sockdiag"
)

// namespace is a network namespace that is not one's own, and a path to it.
type namespace struct {
	path string
	pid  int    // a process in it, 0 if there is none
	name string // of a mount, as `ip netns` makes one
}

// describe names a namespace as a person would look for it.
func (t *table) describe(n namespace) string {
	if n.pid == 0 {
		return "network namespace " + n.name
	}
	w, ok := t.owner(n.pid)
	switch {
	case ok && w.Container != "":
		return fmt.Sprintf("%s container %.12s", w.Engine, w.Container)
	case n.name != "":
		return "network namespace " + n.name
	case ok:
		return fmt.Sprintf("the network namespace of %s (pid %d)", w.Command, n.pid)
	}
	return fmt.Sprintf("the network namespace of pid %d", n.pid)
}

// elsewhere reads what is on the port in every other network namespace that a
// process or a mount keeps: by walking /proc.
func (t *table) elsewhere(l *Looker, q Query) (found []explain.Occupant, notes []string) {
	own, err := inode("/proc/thread-self/ns/net")
	if err != nil {
		return nil, []string{fmt.Sprintf("other network namespaces could not be looked for: %v", err)}
	}
	spaces := map[uint64]namespace{}
	var order []uint64
	add := func(n namespace) {
		ino, err := inode(n.path)
		if err != nil || ino == own {
			return
		}
		old, seen := spaces[ino]
		if !seen {
			order = append(order, ino)
			old = n
		}
		if old.name == "" {
			old.name = n.name
		}
		spaces[ino] = old
	}
	for _, pid := range t.pids {
		add(namespace{path: fmt.Sprintf("/proc/%d/ns/net", pid), pid: pid})
	}
	for _, path := range mounted() {
		add(namespace{path: path, name: filepath.Base(path)})
	}
	missed := 0
	for _, ino := range order {
		rows, err := rowsIn(spaces[ino].path, q)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // its last process ended meanwhile
		}
		if err != nil {
			if missed++; missed == 1 {
				notes = append(notes, fmt.Sprintf("%s could not be looked into: %v", t.describe(spaces[ino]), err))
			}
			continue
		}
		if len(rows) > 0 {
			found = append(found, t.occupants(rows, t.describe(spaces[ino]))...)
		}
	}
	if missed > 1 {
		notes = append(notes, fmt.Sprintf("%d more network namespaces could not be looked into", missed-1))
	}
	return found, notes
}

func inode(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// mounted are the files that network namespaces are mounted on (namespaces(7)).
func mounted() []string {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	var paths []string
	for s := bufio.NewScanner(f); s.Scan(); {
		if path, ok := mountedNamespace(s.Text()); ok {
			paths = append(paths, path)
		}
	}
	return paths
}

// mountedNamespace reads a line of mountinfo: its fourth field is what is
// mounted, its fifth where (proc(5)).
func mountedNamespace(line string) (path string, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 5 || !strings.HasPrefix(fields[3], "net:[") {
		return "", false
	}
	return unescape(fields[4]), true
}

// unescape undoes what the kernel does to blanks in paths: \040.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// rowsIn reads the socket table of the namespace at path, on a thread of its own
// that ends with it: it cannot come back to a namespace by mistake.
func rowsIn(path string, q Query) (rows []journal.Socket, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked
		var fd int
		if fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			err = &os.PathError{Op: "open", Path: path, Err: err}
			return
		}
		defer unix.Close(fd)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			err = fmt.Errorf("enter %s: %w", path, err)
			return
		}
		var c *sockdiag.Conn
		if c, err = sockdiag.OpenPassive(); err != nil {
			return
		}
		defer c.Close()
		rows, err = (&Looker{}).rows(c, q)
	}()
	<-done
	return rows, err
}
