package sandbox

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// surroundings are what decides on how to get what was refused: the container that
// this process is in, if it is in one.
type surroundings struct {
	container bool
	podman    bool
	rootless  bool // root of the container is a user of the machine: the engine runs without root
	desktop   bool // the kernel is that of Docker Desktop's virtual machine
	uid       int
	missing   []string // of the capabilities that a lab needs
}

// needed are the capabilities of a lab, as compose files call them.
var needed = map[int]string{unix.CAP_NET_ADMIN: "NET_ADMIN", unix.CAP_SYS_ADMIN: "SYS_ADMIN"}

// here are the surroundings of this process.
func here() surroundings {
	var u unix.Utsname
	unix.Uname(&u) // cannot fail with a good address
	s := surroundingsIn(os.DirFS("/"), unix.ByteSliceToString(u.Release[:]))
	s.uid = os.Geteuid()
	have := capabilities()
	for _, c := range []int{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN} {
		if have&(1<<c) == 0 {
			s.missing = append(s.missing, needed[c])
		}
	}
	return s
}

// surroundingsIn reads what the files of a machine tell. Docker makes /.dockerenv in
// each container, podman /run/.containerenv; others say it in the environment of
// the first process, which init systems keep in /run/systemd/container. The root
// of a rootless engine's container is not the machine's (user_namespaces(7)).
func surroundingsIn(root fs.FS, release string) (s surroundings) {
	there := func(name string) bool {
		_, err := fs.Stat(root, name)
		return err == nil
	}
	s.podman = there("run/.containerenv")
	s.container = s.podman || there(".dockerenv") || there("run/systemd/container")
	if b, err := fs.ReadFile(root, "proc/self/uid_map"); err == nil && s.container {
		f := strings.Fields(string(b))
		s.rootless = len(f) != 3 || f[0] != "0" || f[1] != "0"
	}
	s.desktop = strings.Contains(release, "linuxkit")
	return s
}

// where names the place in a message.
func (s surroundings) where() string {
	if s.container {
		return "in this container"
	}
	return "on this machine"
}

// ways are what to do in a container: the lines for a compose file, and the same
// for a command line.
func (s surroundings) ways() (ways []string) {
	add := func(format string, args ...any) { ways = append(ways, fmt.Sprintf(format, args...)) }
	engine, option := "docker", "apparmor=unconfined"
	if s.rootless {
		// A user namespace gets a /proc of its own only if nothing of the one that
		// is there is hidden.
		option = "unmask=ALL"
	}
	if s.podman {
		engine = "podman"
	}
	lack := ""
	if len(s.missing) > 0 {
		lack = " (it lacks " + strings.Join(s.missing, " and ") + ")"
	}
	user, flag := "", ""
	if s.uid != 0 {
		user, flag = ", user: \"0:0\" (a container's capabilities go to its root alone)", " --user 0:0"
	}
	add("in the compose file, add to the service: cap_add: [NET_ADMIN, SYS_ADMIN], security_opt: [%q]%s%s", option, user, lack)
	add("or on the command line: %s run --cap-add NET_ADMIN --cap-add SYS_ADMIN --security-opt %s%s ...", engine, option, flag)
	if s.rootless {
		add("or without a container: this engine runs without root, and so can labctl, in a user namespace of its own")
	}
	return ways
}

// capabilities are those in effect, a bit each.
func capabilities() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) != nil {
		return 0
	}
	return uint64(sets[0].Effective) | uint64(sets[1].Effective)<<32
}
