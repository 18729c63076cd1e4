package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Refused says that this machine does not allow what a lab needs, and what to
// do about it.
type Refused struct {
	What string // the operation
	Err  error  // what the kernel said; nil if What tells
	Ways []string
}

func (r *Refused) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "labs are refused %s: %s", here().where(), r.What)
	if r.Err != nil {
		fmt.Fprintf(&b, ": %v", r.Err)
	}
	if len(r.Ways) > 0 {
		b.WriteString("\nA lab needs network namespaces. To get them:")
		for _, w := range r.Ways {
			b.WriteString("\n  - " + w)
		}
	}
	return b.String()
}

func (r *Refused) Unwrap() error { return r.Err }

// refusedStart explains a failure to start the inside.
func refusedStart(err error, rootless bool) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, unix.ENOSPC),
		errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EUSERS):
	default: // of processes, memory, descriptors: nothing that is about labs
		return fmt.Errorf("start the lab: %w", err)
	}
	what := "make PID, mount and network namespaces"
	if rootless {
		what = "make a user namespace with PID, mount and network namespaces in it"
	}
	return &Refused{What: what, Err: err, Ways: Ways(err)}
}

// RefusedInside is for an inside that was started, and then refused what labs
// need, as said.
func RefusedInside(said string) error { return &Refused{What: said, Ways: Ways(nil)} }

// Ways are the ways to get what was refused with err on this machine: those that
// apply, read from its settings.
func Ways(err error) []string {
	var ways []string
	add := func(format string, args ...any) { ways = append(ways, fmt.Sprintf(format, args...)) }
	switch {
	case errors.Is(err, unix.ENOSPC):
		add("user.max_net_namespaces, user.max_pid_namespaces or user.max_user_namespaces is used up or 0: raise it, as root: sysctl user.max_user_namespaces=15000 user.max_net_namespaces=15000")
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		add("this kernel is built without user, PID or network namespaces (CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS): use another kernel")
	}
	if v, ok := setting("kernel/apparmor_restrict_unprivileged_userns"); ok && v == "1" {
		add("AppArmor restricts user namespaces here (kernel.apparmor_restrict_unprivileged_userns=1, as Ubuntu 23.10 and later have it): " +
			"give labctl a profile with \"userns,\", or, as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0")
	}
	if v, ok := setting("kernel/unprivileged_userns_clone"); ok && v == "0" {
		add("user namespaces are switched off for users here: as root: sysctl kernel.unprivileged_userns_clone=1")
	}
	if v, ok := setting("user/max_user_namespaces"); ok && v == "0" {
		add("no user namespace is allowed here: as root: sysctl user.max_user_namespaces=15000")
	}
	s := here()
	switch {
	case s.container:
		ways = append(ways, s.ways()...)
	case os.Geteuid() != 0:
		add("run labctl as root: sudo labctl run ...")
	default:
		add("root lacks capabilities here (%s), as in a container that labctl does not recognize: add cap_add: [NET_ADMIN, SYS_ADMIN] to its service", strings.Join(s.missing, ", "))
	}
	if s.desktop {
		add("this is the kernel of Docker Desktop, which is built without some things; a virtual machine with a usual Linux has them all")
	}
	return ways
}

func setting(name string) (string, bool) {
	b, err := os.ReadFile("/proc/sys/" + name)
	return strings.TrimSpace(string(b)), err == nil
}

// privileged reports whether this process may make namespaces and links by
// itself, without a user namespace (capabilities(7)).
func privileged() bool {
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	return capabilities()&need == need
}
