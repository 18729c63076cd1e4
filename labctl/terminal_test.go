//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"restartlab/labctl/internal/sandbox"
)

// sizes are those of the terminals that tests look at: the smallest that one
// meets, and a common one.
var sizes = []struct{ columns, rows int }{{80, 24}, {120, 40}}

// terminal is a real one, made by tmux: what a person would see and type.
type terminal struct {
	t       *testing.T
	dir     string
	server  string // tmux's
	columns int
}

// newTerminal opens a shell in a folder of its own, with labctl in its PATH. It
// ends with the test.
func newTerminal(t *testing.T, columns, rows int) *terminal {
	t.Helper()
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("tmux is not installed: a real terminal is looked at with it")
	}
	if _, err := sandbox.Examine(); err != nil {
		t.Skip(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "labctl")); err != nil {
		t.Fatal(err)
	}
	term := &terminal{t: t, dir: dir, server: filepath.Join(dir, "tmux"), columns: columns}
	term.tmux("new-session", "-d", "-s", "lab", "-x", fmt.Sprint(columns), "-y", fmt.Sprint(rows), "-c", dir,
		"env", "PATH="+dir+":"+os.Getenv("PATH"), "LANG=C.UTF-8", "PS1=$ ", "HISTFILE=", "bash", "--norc", "--noprofile")
	t.Cleanup(func() { exec.Command("tmux", "-S", term.server, "kill-server").Run() })
	return term
}

// tmux gives tmux a command.
func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-f", "/dev/null", "-S", term.server}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// typing sends keys to a window: words as they are, names of keys such as Enter.
func (term *terminal) typing(window string, keys ...string) {
	term.t.Helper()
	term.tmux(append([]string{"send-keys", "-t", "lab:" + window}, keys...)...)
}

func (term *terminal) screen(window string) string {
	term.t.Helper()
	return term.tmux("capture-pane", "-p", "-J", "-S", "-200", "-t", "lab:"+window)
}

// until returns the screen as soon as it holds the text, and fails the test with
// what is there instead when that takes too long.
func (term *terminal) until(window, text string) string {
	term.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		shown := term.screen(window)
		if strings.Contains(shown, text) {
			return shown
		}
		select {
		case <-tick.C:
		case <-deadline:
			term.t.Fatalf("%q did not come; the screen is\n%s", text, shown)
		}
	}
}

const closes = `
name: closes
programs:
  app:     {host: server, server: {address: 0.0.0.0}}
  visitor: {host: client, client: {address: server}}
steps:
  - start: app
    title: The server starts
  - run: visitor
  - stop: app
  - wait: {host: server, until: {states: {TIME_WAIT: 1}}}
  - start: app
    expect: {bind: EADDRINUSE}
`

// write writes a file beside the shell.
func (term *terminal) write(name, text string) {
	term.t.Helper()
	if err := os.WriteFile(filepath.Join(term.dir, name), []byte(text), 0o666); err != nil {
		term.t.Fatal(err)
	}
}

// TestStepOnTerminal goes through a run by hand, TIME_WAIT's seconds in sight.
func TestStepOnTerminal(t *testing.T) {
	for _, size := range sizes {
		t.Run(fmt.Sprintf("%dx%d", size.columns, size.rows), func(t *testing.T) {
			t.Parallel()
			term := newTerminal(t, size.columns, size.rows)
			term.write("closes.yaml", closes)
			term.typing("0", "labctl run closes.yaml --step --report out", "Enter")
			for _, next := range []string{"The server starts", "run visitor", "stop app", "wait server"} {
				term.until("0", "next: "+next+" · Enter begins it")
				term.typing("0", "Enter")
			}
			shown := term.until("0", "next: start app 2 · Enter begins it · server: TIME_WAIT 5")
			first := strings.LastIndex(shown, "TIME_WAIT 5")
			was := shown[first : first+len("TIME_WAIT 59.9 s")]
			// The seconds run while nothing happens.
			for deadline := time.Now().Add(20 * time.Second); strings.Contains(term.screen("0"), was+" left"); {
				if time.Now().After(deadline) {
					t.Fatalf("%s stands still:\n%s", was, term.screen("0"))
				}
			}
			term.typing("0", "Enter")
			shown = term.until("0", "report: out/report.html")
			if !strings.Contains(shown, "PASS closes") {
				t.Errorf("not passed:\n%s", shown)
			}
			if strings.Contains(shown, "Enter begins it") {
				t.Errorf("a prompt stays on the screen:\n%s", shown)
			}
		})
	}
}

// TestPredictOnTerminal answers questions by typing.
func TestPredictOnTerminal(t *testing.T) {
	for _, size := range sizes {
		t.Run(fmt.Sprintf("%dx%d", size.columns, size.rows), func(t *testing.T) {
			t.Parallel()
			term := newTerminal(t, size.columns, size.rows)
			term.write("closes.yaml", closes)
			term.typing("0", "labctl run closes.yaml --predict --report out", "Enter")
			term.until("0", "which sockets will be on the port?")
			term.until("0", "1 to 5, Enter passes:")
			term.typing("0", "7", "Enter") // no such answer
			term.typing("0", "3", "Enter")
			term.until("0", "you said one in TIME_WAIT: right (1 of 1)")
			term.until("0", "what will bind() answer?")
			term.typing("0", "1", "Enter")
			shown := term.until("0", "report: out/report.html")
			for _, text := range []string{"you said ok: wrong, it was EADDRINUSE (1 of 2)", "PASS closes", "held by TIME_WAIT"} {
				if !strings.Contains(shown, text) {
					t.Errorf("%q is not on the screen:\n%s", text, shown)
				}
			}
		})
	}
}
