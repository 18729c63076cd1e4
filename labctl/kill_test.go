//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/live"
	"restartlab/labctl/internal/sandbox"
)

// running are the processes of the machine whose command line has the mark.
func running(mark string) (pids []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is good
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil && bytes.Contains(b, []byte(mark)) {
			pids = append(pids, filepath.Base(filepath.Dir(f)))
		}
	}
	return pids
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// TestKilledLab kills what keeps a lab up, and those who are in it, with SIGKILL.
// Nothing is left but the report folder, and whoever was in it is told.
func TestKilledLab(t *testing.T) {
	if _, err := sandbox.Examine(); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func(t *testing.T, dir string, args ...string) (*exec.Cmd, *bytes.Buffer) {
		cmd := exec.Command(self, args...)
		cmd.Args[0] = "labctl" // the test binary is labctl by that name
		cmd.Path = filepath.Join(dir, "labctl")
		cmd.Dir = dir
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd, &out
	}
	lab := func(t *testing.T, mark string) (up, program *exec.Cmd, said *bytes.Buffer, folder string) {
		dir := t.TempDir()
		if err := os.Symlink(self, filepath.Join(dir, "labctl")); err != nil {
			t.Fatal(err)
		}
		folder = filepath.Join(dir, "out")
		up, _ = start(t, dir, "up", "--report", folder)
		eventually(t, "the lab is up", func() bool {
			c, err := live.Dial(folder)
			if err != nil {
				return false
			}
			defer c.Close()
			_, err = c.Ask(live.Request{Status: true})
			return err == nil
		})
		// A program with a child in a session of its own, that no signal to the
		// group reaches.
		program, said = start(t, dir, "exec", "--lab", folder, "server", "--", "sh", "-c", "setsid sleep "+mark+" & exec sleep "+mark)
		eventually(t, "two programs run", func() bool { return len(inLab(mark)) == 2 })
		return up, program, said, folder
	}
	mark := func(n int) string { return fmt.Sprintf("1%d.%d", os.Getpid(), n) }

	t.Run("labctl up", func(t *testing.T) {
		up, program, said, folder := lab(t, mark(1))
		up.Process.Signal(unix.SIGKILL)
		up.Wait()
		program.Wait()
		if code := program.ProcessState.ExitCode(); code != 3 || !strings.Contains(said.String(), "the lab is gone") {
			t.Errorf("exec ends with %d and says %q", code, said)
		}
		eventually(t, "no program is left", func() bool { return len(inLab(mark(1))) == 0 })
		if _, err := live.Dial(folder); err == nil {
			t.Error("somebody answers at the control socket")
		}
		left, err := os.ReadDir(folder)
		if err != nil || len(left) != 1 || left[0].Name() != "journal.jsonl" {
			t.Errorf("in the report folder are %v (%v), want the journal alone", left, err)
		}
	})
	t.Run("labctl exec", func(t *testing.T) {
		up, program, _, folder := lab(t, mark(2))
		program.Process.Signal(unix.SIGKILL)
		program.Wait()
		eventually(t, "the program is told of the end of its terminal", func() bool { return len(inLab(mark(2))) == 1 })
		up.Process.Signal(unix.SIGINT)
		if err := up.Wait(); err != nil {
			t.Errorf("labctl up ends with %v", err)
		}
		if left := inLab(mark(2)); len(left) != 0 {
			t.Errorf("processes are left: %v", left)
		}
		if _, err := os.Stat(filepath.Join(folder, "report.html")); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(filepath.Join(folder, live.SocketName)); err == nil {
			t.Error("the control socket is left")
		}
	})
}

// inLab are the programs with the mark, without those who started them.
func inLab(mark string) (pids []string) {
	for _, pid := range running(mark) {
		b, err := os.ReadFile("/proc/" + pid + "/cmdline")
		if err == nil && bytes.HasPrefix(b, []byte("sleep\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}
