package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/scenario"
)

// congestionControl is what every host uses unless its scenario says
// otherwise. A namespace inherits the machine's default, which may be BBR,
// paced and so differently timed. Reno is built into every kernel and the only
// algorithm that each lets a child namespace choose; CUBIC may be "restricted"
// there (EPERM) when it is not the machine's default.
const (
	congestionControl       = "reno"
	congestionControlSysctl = "net.ipv4.tcp_congestion_control"
)

// pinCongestionControl sets it in the calling thread's namespace unless the
// scenario does. It returns what to note if the kernel refuses.
func pinCongestionControl(host string, sysctls []scenario.Sysctl) (note string) {
	for _, s := range sysctls {
		if s.Name == congestionControlSysctl {
			return ""
		}
	}
	err := writeSysctl(host, congestionControlSysctl, congestionControl)
	if err == nil {
		return ""
	}
	return fmt.Sprintf("host %s keeps the machine's congestion control: %v", host, err)
}

// setAll writes, in order, those sysctls whose name is wanted, in the calling
// thread's namespace.
func setAll(host string, sysctls []scenario.Sysctl, wanted func(name string) bool) error {
	for _, s := range sysctls {
		if !wanted(s.Name) {
			continue
		}
		if err := writeSysctl(host, s.Name, s.Value); err != nil {
			return err
		}
	}
	return nil
}

// Sysctls reads kernel settings of the host, those that it has.
func (h *Host) Sysctls(names []string) (map[string]string, error) {
	values := map[string]string{}
	err := h.Do(func() error {
		for _, name := range names {
			if v, err := readSysctl(h.name, name); err == nil {
				values[name] = v
			}
		}
		return nil
	})
	return values, err
}

// ofLink reports whether a setting belongs to eth0 and so exists only once the
// link does: net.ipv4.conf.eth0.*, net.ipv6.neigh.eth0.*.
func ofLink(name string) bool {
	parts := strings.Split(name, ".")
	return len(parts) > 4 && parts[3] == "eth0"
}

// SetSysctl writes a kernel setting of the host, such as
// net.ipv4.tcp_fin_timeout, and returns what the kernel then reads back: it
// rounds and clamps some values without a word. As in sysctl(8) a slash in a
// part of the name stands for a dot: net.ipv4.conf.eth0/1.rp_filter.
//
// Only settings under net. can be written; the others belong to the machine.
// Of net., too, some belong to the machine: a host does not have them.
func (h *Host) SetSysctl(name, value string) (now string, err error) {
	err = h.Do(func() error {
		if err := writeSysctl(h.name, name, value); err != nil {
			return err
		}
		now, err = readSysctl(h.name, name)
		if errors.Is(err, unix.EACCES) {
			err = nil // such as net.ipv4.route.flush, which can only be written
		}
		return err
	})
	return now, err
}

// Sysctl reads a kernel setting of the host.
func (h *Host) Sysctl(name string) (value string, err error) {
	err = h.Do(func() error {
		value, err = readSysctl(h.name, name)
		return err
	})
	return value, err
}

// writeSysctl writes a setting of the calling thread's namespace: /proc/sys/net
// is that of the thread that opens it.
func writeSysctl(host, name, value string) error {
	path, err := sysctlPath(name)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("set %s = %s on %s", name, value, host)
	if value == "" {
		return fmt.Errorf("%s: there is no value", what)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return sysctlError(what, err)
	}
	defer f.Close()
	_, err = f.WriteString(value)
	return sysctlError(what, err)
}

// readSysctl reads a setting of the calling thread's namespace.
func readSysctl(host, name string) (string, error) {
	path, err := sysctlPath(name)
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), sysctlError(fmt.Sprintf("read %s on %s", name, host), err)
}

// sysctlPath is the file of a setting, for names that can only lead to one
// below /proc/sys/net.
func sysctlPath(name string) (string, error) {
	parts := strings.Split(name, ".")
	if parts[0] != "net" || len(parts) < 3 {
		return "", fmt.Errorf("sysctl %q: only the settings of a network namespace can be used, with names such as net.ipv4.tcp_fin_timeout", name)
	}
	for i, p := range parts {
		p = strings.ReplaceAll(p, "/", ".")
		if strings.Trim(p, ".") == "" || strings.ContainsAny(p, "\x00\n") {
			return "", fmt.Errorf("sysctl %q: not a sysctl's name, which looks like net.ipv4.tcp_fin_timeout", name)
		}
		parts[i] = p
	}
	return "/proc/sys/" + strings.Join(parts, "/"), nil
}

// sysctlError says in the product's words what the kernel said to an access: in an
// *Unavailable if the setting is not to be had here.
func sysctlError(what string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err // the path is only the name again
	}
	hint := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOENT):
		hint = " (this kernel has no such setting, or not for a network namespace)"
	case errors.Is(err, unix.EINVAL):
		hint = " (the kernel does not take this value)"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = " (the kernel does not let a lab change it here)"
	case errors.Is(err, unix.EROFS):
		hint = " (/proc/sys is mounted read-only here, as in an unprivileged container)"
	}
	said := fmt.Errorf("%s: %w%s", what, err, hint)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) {
		return &Unavailable{Err: said}
	}
	return said
}
