// Package netlabtest runs the tests of a package inside: as PID 1 of namespaces
// of their own, where they may make hosts and links. A package that needs it
// has
//
//	func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }
//
// and calls Need in each test that makes a lab. It works for root and for an
// ordinary user. Where the kernel refuses, these tests are skipped with the
// reason and the others run. A test binary that leaves descriptors open fails.
package netlabtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// marker is set for the test binary that runs inside. It tells why it cannot,
// when namespaces are refused, and is "inside" otherwise.
const marker = "RESTARTLAB_TEST_NAMESPACES"

const inside = "inside"

// Need skips the test unless it runs inside.
func Need(t testing.TB) {
	t.Helper()
	if why := os.Getenv(marker); why != inside {
		if why == "" {
			why = "TestMain does not call netlabtest.Main"
		}
		t.Skip("needs namespaces: " + why)
	}
}

// Main starts the test binary again inside and returns its exit code; there,
// it runs the tests.
func Main(m *testing.M) int {
	switch {
	case os.Getenv(marker) != "" && os.Getpid() != 1:
		return m.Run() // a process of the tests' own, such as a fuzz worker
	case os.Getenv(marker) != "":
		if err := settleIn(); err != nil {
			os.Setenv(marker, err.Error())
		}
		return run(m)
	}
	code, err := startInside()
	if err == nil {
		return code
	}
	os.Setenv(marker, err.Error())
	return run(m)
}

// run runs the tests and fails if they leave descriptors open.
func run(m *testing.M) int {
	// What the runtime opens for itself, once, is no leak.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	before := descriptors()
	code := m.Run()
	if profiling() {
		return code // package testing leaves the profile's file open
	}
	for _, d := range descriptors() {
		if !slices.Contains(before, d) && code == 0 {
			fmt.Fprintln(os.Stderr, "FAIL: the tests left a descriptor open:", d)
			code = 1
		}
	}
	return code
}

func profiling() bool {
	return slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.cpuprofile") || strings.HasPrefix(a, "-test.trace")
	})
}

// descriptors lists "number -> what" for every open descriptor.
func descriptors() []string {
	const dir = "/proc/self/fd"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil { // not the one that listed
			list = append(list, e.Name()+" -> "+to)
		}
	}
	return list
}

// startInside runs this binary as PID 1 of new namespaces. It fails only if
// the process could not be started at all.
func startInside() (code int, err error) {
	// The parent-death signal comes when the thread ends that started the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), marker+"="+inside)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET,
		Pdeathsig:  unix.SIGKILL,
	}
	if !canMakeNamespaces() {
		// The same user with the capabilities of the new user namespace,
		// rather than its root: programs behave as they do outside.
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_SYS_ADMIN}
	}
	// Ctrl-C reaches the child as well, and the child's end is this one's.
	// Ignoring it instead would be inherited.
	signal.Notify(make(chan os.Signal, 1), unix.SIGINT)
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("new namespaces are refused: %w", err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	}
	fmt.Fprintln(os.Stderr, "FAIL: the tests inside ended with", err)
	return 1, nil
}

// canMakeNamespaces reports whether the process has CAP_SYS_ADMIN and
// CAP_NET_ADMIN.
func canMakeNamespaces() bool {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil {
		return false
	}
	const need = 1<<unix.CAP_SYS_ADMIN | 1<<unix.CAP_NET_ADMIN
	return data[0].Effective&need == need
}

// settleIn gives the new PID namespace its own /proc, without the machine's
// noticing.
func settleIn() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("the new namespaces have no power (make mounts private): %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc in the new namespaces: %w", err)
	}
	return nil
}
