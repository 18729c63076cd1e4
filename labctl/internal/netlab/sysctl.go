package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
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
func (s *settings) pinCongestionControl(sysctls []scenario.Sysctl) (note string) {
	if slices.ContainsFunc(sysctls, func(s scenario.Sysctl) bool { return s.Name == congestionControlSysctl }) {
		return ""
	}
	err := s.write(congestionControlSysctl, congestionControl)
	if err == nil {
		return ""
	}
	return fmt.Sprintf("host %s keeps the machine's congestion control: %v", s.host, err)
}

// setAll writes, in order, those sysctls whose name is wanted.
func (s *settings) setAll(sysctls []scenario.Sysctl, wanted func(name string) bool) error {
	for _, set := range sysctls {
		if !wanted(set.Name) {
			continue
		}
		if err := s.write(set.Name, set.Value); err != nil {
			return err
		}
	}
	return nil
}

// Sysctls reads kernel settings of the host, those that it has.
func (h *Host) Sysctls(names []string) (map[string]string, error) {
	values := map[string]string{}
	err := h.Do(func() error {
		s := h.fresh.Swap(nil)
		if s == nil {
			s = settingsOf(h.name)
		}
		defer s.close()
		for _, name := range names {
			if v, err := s.read(name); err == nil {
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
		s := settingsOf(h.name)
		defer s.close()
		if err := s.write(name, value); err != nil {
			return err
		}
		now, err = s.read(name)
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
		s := settingsOf(h.name)
		defer s.close()
		value, err = s.read(name)
		return err
	})
	return value, err
}

// settings are the kernel settings of the calling thread's namespace: /proc/sys/net is
// that of the thread that opens it. The folders on the way are opened once. In each
// the kernel looks through those of all namespaces, one after another, for the one
// that is this namespace's; with a thousand labs that takes longer than all the rest.
type settings struct {
	host    string         // for messages
	folders map[string]int // descriptors
}

func settingsOf(host string) *settings { return &settings{host: host, folders: map[string]int{}} }

func (s *settings) close() {
	for _, fd := range s.folders {
		unix.Close(fd)
	}
}

// open opens the file of a setting.
func (s *settings) open(name string, flags int) (fd int, err error) {
	path, err := sysctlPath(name)
	if err != nil {
		return -1, err
	}
	dir, file := filepath.Split(path)
	folder, ok := s.folders[dir]
	if !ok {
		if folder, err = unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			return -1, err
		}
		s.folders[dir] = folder
	}
	return unix.Openat(folder, file, flags|unix.O_CLOEXEC, 0)
}

// write writes a setting.
func (s *settings) write(name, value string) error {
	what := fmt.Sprintf("set %s = %s on %s", name, value, s.host)
	if _, err := sysctlPath(name); err != nil {
		return err
	}
	if value == "" {
		return fmt.Errorf("%s: there is no value", what)
	}
	fd, err := s.open(name, unix.O_WRONLY)
	if err != nil {
		return sysctlError(what, err)
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(value))
	return sysctlError(what, err)
}

// read reads a setting.
func (s *settings) read(name string) (string, error) {
	if _, err := sysctlPath(name); err != nil {
		return "", err
	}
	what := fmt.Sprintf("read %s on %s", name, s.host)
	fd, err := s.open(name, unix.O_RDONLY)
	if err != nil {
		return "", sysctlError(what, err)
	}
	defer unix.Close(fd)
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil {
			return "", sysctlError(what, err)
		}
		if n == 0 {
			return strings.TrimSpace(string(text)), nil
		}
		text = append(text, buf[:n]...)
	}
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
