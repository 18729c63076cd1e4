package occupant

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/journal"
)

// table is who has which socket open, as far as /proc shows it.
type table struct {
	files map[uint64][]file // by inode
	pids  []int
	users map[uint32]string
}

// file is a descriptor of a process.
type file struct{ pid, fd int }

// processes walks /proc. What ends meanwhile is passed over, and so are the
// descriptors of processes that are not ours to see.
func processes() *table {
	t := &table{files: map[uint64][]file{}, users: map[uint32]string{}}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return t
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		t.pids = append(t.pids, pid)
		dir := filepath.Join("/proc", e.Name(), "fd")
		d, err := os.Open(dir)
		if err != nil {
			continue
		}
		names, _ := d.Readdirnames(-1)
		d.Close()
		for _, name := range names {
			to, err := os.Readlink(filepath.Join(dir, name))
			if err != nil {
				continue
			}
			inode, ok := socketInode(to)
			fd, err := strconv.Atoi(name)
			if ok && err == nil {
				t.files[inode] = append(t.files[inode], file{pid, fd})
			}
		}
	}
	slices.Sort(t.pids)
	return t
}

// socketInode reads what a descriptor's link says of a socket: "socket:[123]".
func socketInode(link string) (uint64, bool) {
	number, ok := strings.CutPrefix(link, "socket:[")
	number, ok2 := strings.CutSuffix(number, "]")
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, ok && ok2 && err == nil
}

// occupants joins rows of a socket table with their owners.
func (t *table) occupants(rows []journal.Socket, namespace string) []explain.Occupant {
	all := []explain.Occupant{}
	for _, row := range rows {
		o := explain.Occupant{Socket: row, Namespace: namespace, Owners: []explain.Owner{}}
		o.Options.V6Only = row.V6Only
		if row.Inode != 0 {
			o.User = t.user(row.UID)
			var last int
			for _, f := range t.files[row.Inode] {
				if f.pid == last {
					continue // the same process has it twice
				}
				last = f.pid
				if owner, ok := t.owner(f.pid); ok {
					o.Owners = append(o.Owners, owner)
				}
				readOptions(f, row, &o.Options)
			}
		}
		all = append(all, o)
	}
	return all
}

// owner reads what /proc tells of a process; false if it is gone.
func (t *table) owner(pid int) (explain.Owner, bool) {
	dir := fmt.Sprintf("/proc/%d", pid)
	w := explain.Owner{PID: pid}
	var st unix.Stat_t
	comm, err := os.ReadFile(dir + "/comm")
	if err != nil || unix.Stat(dir, &st) != nil {
		return w, false
	}
	w.Command = strings.TrimSpace(string(comm))
	w.User = t.user(st.Uid)
	if b, err := os.ReadFile(dir + "/cmdline"); err == nil {
		w.Argv = arguments(b)
	}
	if b, err := os.ReadFile(dir + "/cgroup"); err == nil {
		w.Unit, w.Manager, w.Engine, w.Container = group(string(b))
	}
	return w, true
}

// arguments parts the words of /proc/PID/cmdline.
func arguments(b []byte) []string {
	words := []string{}
	for word := range bytes.SplitSeq(bytes.TrimRight(b, "\x00"), []byte{0}) {
		words = append(words, string(word))
	}
	return words
}

func (t *table) user(uid uint32) string {
	if name, ok := t.users[uid]; ok {
		return name
	}
	name := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	t.users[uid] = name
	return name
}

var (
	// containerID is a number as container engines give it.
	containerID = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(?:([a-z-]+)-)?([0-9a-f]{64})(?:\.scope)?$`) })
	lxc         = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^lxc(?:\.payload)?[./](.+)$`) })
)

// group reads /proc/PID/cgroup: the systemd unit, and the container. Of cgroups
// of version 1 the line of systemd counts, as of those of version 2 the only one
// (cgroups(7)).
func group(text string) (unit, manager, engine, container string) {
	path := ""
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[1] == "" && path == "" || parts[1] == "name=systemd" {
			path = parts[2]
		}
	}
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		if m := containerID().FindStringSubmatch(part); m != nil {
			container, engine = m[2], m[1]
			if engine == "" && i > 0 {
				engine = parts[i-1]
			}
			switch {
			case engine == "libpod":
				engine = "podman"
			case strings.HasPrefix(part, "cri-") || strings.HasPrefix(parts[0], "kubepods"):
				engine = "kubernetes"
			case engine != "docker":
				engine = "container"
			}
		}
		if m := lxc().FindStringSubmatch(strings.Join(parts[i:min(i+2, len(parts))], "/")); m != nil && container == "" {
			container, _, _ = strings.Cut(m[1], "/")
			engine = "lxc"
		}
		if strings.HasPrefix(part, "user@") {
			manager = "user"
		} else if strings.HasSuffix(part, ".service") {
			unit = part
		}
	}
	if unit == "" {
		manager = ""
	}
	return unit, manager, engine, container
}

// readOptions reads a socket's options through a descriptor of one's own for it,
// held for that moment. Where the process is not ours to look into they stay
// unknown (pidfd_getfd(2): it takes the right to ptrace).
func readOptions(f file, row journal.Socket, known *explain.Known) {
	pidfd, err := unix.PidfdOpen(f.pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(pidfd)
	fd, err := unix.PidfdGetfd(pidfd, f.fd, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// The number may be another file by now.
	if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil || cookie != row.Cookie {
		return
	}
	get := func(level, option int) *bool {
		v, err := unix.GetsockoptInt(fd, level, option)
		if err != nil {
			return nil
		}
		set := v != 0
		return &set
	}
	known.ReuseAddr = get(unix.SOL_SOCKET, unix.SO_REUSEADDR)
	known.ReusePort = get(unix.SOL_SOCKET, unix.SO_REUSEPORT)
	if only := get(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY); only != nil {
		known.V6Only = only
	}
}
