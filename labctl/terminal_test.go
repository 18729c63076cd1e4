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
		if os.Getenv("CI") != "" {
			t.Fatal("tmux is not installed")
		}
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

// window opens a second shell like the first; later calls name it.
func (term *terminal) window(name string) {
	term.t.Helper()
	term.tmux("new-window", "-d", "-t", "lab:", "-n", name, "-c", term.dir,
		"env", "PATH="+term.dir+":"+os.Getenv("PATH"), "LANG=C.UTF-8", "PS1=$ ", "HISTFILE=", "bash", "--norc", "--noprofile")
}

// typing sends keys to a window: words as they are, names of keys such as Enter.
func (term *terminal) typing(window string, keys ...string) {
	term.t.Helper()
	term.tmux(append([]string{"send-keys", "-t", "lab:" + window}, keys...)...)
}

func (term *terminal) screen(window string) string {
	term.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(term.tmux("capture-pane", "-p", "-J", "-S", "-200", "-t", "lab:"+window)) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
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
		if strings.Contains("\n"+shown, text) {
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

// TestLiveOnTerminal does by hand what the article does: a server in one terminal,
// a client in another, the sockets in a third.
func TestLiveOnTerminal(t *testing.T) {
	for _, size := range sizes {
		t.Run(fmt.Sprintf("%dx%d", size.columns, size.rows), func(t *testing.T) {
			t.Parallel()
			term := newTerminal(t, size.columns, size.rows)
			term.typing("0", "labctl up", "Enter")
			shown := term.until("0", "labctl down")
			for _, text := range []string{"Lab lab is up", "labctl exec server -- bash"} {
				if !strings.Contains(shown, text) {
					t.Errorf("labctl up does not show %q:\n%s", text, shown)
				}
			}

			// A shell with job control, in the same folder, in a terminal of the
			// same size.
			term.window("shell")
			term.typing("shell", "labctl exec server -- env PS1=inside: bash --norc --noprofile", "Enter")
			term.until("shell", "\ninside:")
			term.typing("shell", "clear; pwd; stty size; ls control; ip -br addr show eth0", "Enter")
			shown = term.until("shell", "192.168.44.144")
			if rows := fmt.Sprintf("%d %d", size.rows, size.columns); !strings.Contains(shown, rows) {
				t.Errorf("stty size does not say %q:\n%s", rows, shown)
			}
			if !strings.Contains(strings.ReplaceAll(shown, "\n", ""), term.dir) {
				t.Errorf("pwd does not say %s:\n%s", term.dir, shown)
			}
			if strings.Contains(shown, "job control") {
				t.Errorf("the shell has no terminal of its own:\n%s", shown)
			}

			term.window("watch")
			term.typing("watch", "labctl watch server --interval 100ms", "Enter")
			term.until("watch", "TCP sockets of server")

			term.typing("shell", "clear; labctl server", "Enter")
			term.until("shell", "server init ok")
			term.until("watch", "LISTEN")
			term.window("client")
			term.typing("client", "labctl exec client -- labctl client --address 192.168.44.144; echo code $?", "Enter")
			term.until("client", "code 0")
			term.until("watch", "TIME_WAIT 5")
			was := term.screen("watch")
			for deadline := time.Now().Add(20 * time.Second); secondsOf(was) == secondsOf(term.screen("watch")); {
				if time.Now().After(deadline) {
					t.Fatalf("TIME_WAIT does not count down:\n%s", was)
				}
			}
			term.typing("shell", "C-c")
			term.typing("shell", "clear; labctl server", "Enter")
			term.until("shell", "socket bind error=98(Address already in use)!!!")

			// The size follows that of the terminal.
			term.tmux("resize-window", "-t", "lab:shell", "-x", "70", "-y", "20")
			term.typing("shell", "clear; stty size", "Enter")
			term.until("shell", "20 70")

			term.typing("shell", "exit 5", "Enter")
			term.until("shell", "exit\n$")
			term.typing("shell", "echo code $?", "Enter")
			term.until("shell", "code 5")
			term.typing("shell", "echo $(stty -a | grep -c -e ' echo ') terminal that echoes", "Enter")
			term.until("shell", "1 terminal that echoes") // it is as it was

			term.typing("watch", "C-c")
			term.typing("client", "labctl status; labctl down", "Enter")
			term.until("client", "report: reports/lab-")
			term.until("0", "Lab lab is down")
			report, err := os.ReadFile(filepath.Join(term.dir, "reports/latest/report.md"))
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"inside:clear; labctl server", "socket bind error=98", "TIME_WAIT"} {
				if !strings.Contains(string(report), text) {
					t.Errorf("the report does not have %q", text)
				}
			}
		})
	}
}

// secondsOf finds what is left of TIME_WAIT on a screen.
func secondsOf(screen string) string {
	_, after, _ := strings.Cut(screen, "TIME_WAIT ")
	left, _, _ := strings.Cut(after, " s")
	return left
}

// program is C that is compiled on the spot.
const program = `
#include <arpa/inet.h>
#include <stdio.h>
#include <sys/socket.h>
int main(void) {
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(12500)};
	if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 1))
		return 1;
	puts("my server listens");
	return accept(fd, 0, 0) < 0;
}
`

// nginxConfig is all that nginx needs to run as anybody.
const nginxConfig = `
daemon off;
pid nginx.pid;
error_log stderr;
events {}
http {
	access_log off;
	client_body_temp_path tmp;
	proxy_temp_path tmp;
	fastcgi_temp_path tmp;
	uwsgi_temp_path tmp;
	scgi_temp_path tmp;
	server { listen 8080; location / { return 200 "from nginx\n"; } }
}
`

// TestProgramsOnTerminal runs what people run: an editor, a compiler and what it
// made, tcpdump, ss, nginx.
func TestProgramsOnTerminal(t *testing.T) {
	t.Parallel()
	term := newTerminal(t, 80, 24)
	term.typing("0", "labctl up", "Enter")
	term.until("0", "Lab lab is up")
	term.window("server")
	term.typing("server", "labctl exec server -- env PS1=inside: bash --norc --noprofile", "Enter")
	term.until("server", "\ninside:")
	term.window("client")
	have := func(t *testing.T, name string) {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed", name)
			}
			t.Skipf("%s is not installed", name)
		}
	}
	whole := term
	run := func(name string, f func(t *testing.T, term *terminal)) {
		t.Run(name, func(t *testing.T) {
			term := *whole
			term.t = t
			f(t, &term)
		})
	}
	run("vim", func(t *testing.T, term *terminal) {
		have(t, "vim")
		term.typing("server", "vim -u NONE words.txt", "Enter")
		term.until("server", "[New File]")
		term.typing("server", "itwo words", "Escape", ":wq", "Enter")
		term.until("server", "\ninside:")
		term.typing("server", "clear; cat words.txt", "Enter")
		term.until("server", "two words\n")
	})
	run("a server compiled on the spot", func(t *testing.T, term *terminal) {
		have(t, "cc")
		term.write("server.c", program)
		term.typing("server", "clear; cc -o my-server server.c && ./my-server", "Enter")
		term.until("server", "my server listens")
		term.typing("client", "clear; labctl exec client -- bash -c 'exec 3<>/dev/tcp/192.168.44.144/12500'; echo code $?", "Enter")
		term.until("client", "code 0")
		term.typing("server", "clear; echo code $?", "Enter")
		term.until("server", "code 0")
	})
	run("tcpdump", func(t *testing.T, term *terminal) {
		have(t, "tcpdump")
		term.typing("server", "clear; tcpdump -c 1 -lni eth0 'tcp[tcpflags] == tcp-syn'", "Enter")
		term.until("server", "listening on eth0")
		term.typing("client", "clear; labctl exec client -- labctl client --address 192.168.44.144; echo code $?", "Enter")
		term.until("server", "Flags [S]")
		term.until("client", "code 111")
	})
	run("ss", func(t *testing.T, term *terminal) {
		have(t, "ss")
		term.typing("client", "clear; labctl exec server -- labctl server --port 9000; echo code $?", "Enter")
		term.until("client", "server init ok")
		term.typing("server", "clear; ss -tln", "Enter")
		term.until("server", "0.0.0.0:9000")
		term.typing("client", "C-c")
		term.until("client", "code 130")
	})
	run("nginx", func(t *testing.T, term *terminal) {
		have(t, "nginx")
		have(t, "curl")
		term.write("nginx.conf", nginxConfig)
		term.typing("client", "clear; labctl exec server -- nginx -p $PWD/ -c nginx.conf; echo code $?", "Enter")
		term.typing("server", "clear; until curl -s http://192.168.44.144:8080/; do :; done", "Enter")
		term.until("server", "from nginx")
		term.typing("client", "C-c")
		term.until("client", "code 0")
	})
	term.typing("0", "C-c")
	term.until("0", "Lab lab is down")
	report, err := os.ReadFile(filepath.Join(term.dir, "reports/latest/report.md"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(report), "~") && strings.Contains(string(report), "INSERT") {
		t.Errorf("an editor's screen is in the report")
	}
}
