package campaign

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// machine reads the facts of this machine. What cannot be read stays empty.
func machine() journal.Machine {
	m := journal.Machine{CPUs: runtime.NumCPU()}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Release[:])
		m.KernelBuild = unix.ByteSliceToString(u.Version[:])
		m.Arch = unix.ByteSliceToString(u.Machine[:])
	}
	m.HZ = hz(m.Kernel)
	if f, err := os.Open("/etc/os-release"); err == nil {
		defer f.Close()
		m.OS = strings.Trim(assigned(f, "PRETTY_NAME"), `"`)
	}
	return m
}

// hz is CONFIG_HZ of the running kernel, from /proc/config.gz or /boot; 0 if
// neither tells. (Its timer wheel rounds TIME_WAIT's 60 s up by a step that
// depends on it.)
func hz(release string) int {
	var config io.Reader
	if f, err := os.Open("/proc/config.gz"); err == nil {
		defer f.Close()
		if config, err = gzip.NewReader(f); err != nil {
			return 0
		}
	} else {
		b, err := os.ReadFile("/boot/config-" + release)
		if err != nil {
			return 0
		}
		config = bytes.NewReader(b)
	}
	n, _ := strconv.Atoi(assigned(config, "CONFIG_HZ"))
	return n
}

// assigned finds the value of NAME=value.
func assigned(r io.Reader, name string) string {
	for s := bufio.NewScanner(r); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), name+"="); ok {
			return v
		}
	}
	return ""
}
