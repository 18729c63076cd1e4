package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

// holders are processes that keep a network namespace each, as containers do,
// joined by a link with the addresses 10.9.8.2 and 10.9.8.3.
func holders(t *testing.T) (server, client int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("to join network namespaces takes root")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s, to make the namespaces that are joined", tool)
		}
	}
	runtime.LockOSThread() // the holders die with this thread, which ends with the test
	var pids []int
	for range 2 {
		cmd := exec.Command("sleep", "1000")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: unix.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
		pids = append(pids, cmd.Process.Pid)
	}
	within(t, pids[0], fmt.Sprintf("ip link add eth0 type veth peer name eth0 netns %d", pids[1]))
	for i, pid := range pids {
		// Without link-local addresses, which the kernel would still be checking.
		within(t, pid, fmt.Sprintf("ip addr add 10.9.8.%d/24 dev eth0; ip link set eth0 addrgenmode none; ip link set lo up; ip link set eth0 up", i+2))
	}
	for _, pid := range pids { // each look makes the kernel take note of the carrier
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(within(t, pid, "ip link show eth0"), "state UP"); {
			if time.Now().After(deadline) {
				t.Fatal("the link between the holders does not come up")
			}
		}
	}
	return pids[0], pids[1]
}

// within runs a shell line in the network namespace of a process.
func within(t *testing.T, pid int, line string) string {
	t.Helper()
	out, err := exec.Command("nsenter", "-t", fmt.Sprint(pid), "-n", "sh", "-ec", line).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// state is what a run may not change of a namespace: links, addresses, routes,
// rules and settings. Left out are lines that count or that the kernel draws by
// itself.
func state(t *testing.T, pid int) []string {
	t.Helper()
	all := within(t, pid, "ip -d addr; ip route show table all; ip rule; ip -6 rule; grep -rs . /proc/sys/net || true")
	if _, err := exec.LookPath("nft"); err == nil {
		all += within(t, pid, "nft list ruleset")
	}
	return slices.DeleteFunc(strings.Split(all, "\n"), func(l string) bool {
		return strings.Contains(l, "valid_lft") || strings.Contains(l, "nf_conntrack_count") || strings.Contains(l, "random") ||
			strings.Contains(l, "mtu_expires") || strings.Contains(l, "netdev_rss_key")
	})
}

// A run on joined hosts plays the scenario there and leaves them as they were.
func TestJoin(t *testing.T) {
	server, client := holders(t)
	before := [][]string{state(t, server), state(t, client)}
	join, err := sandbox.OpenJoin(map[string]int{"server": server, "client": client})
	if err != nil {
		t.Fatal(err)
	}
	defer join.Close()
	for round := range 2 {
		// On a port of its own: what the first round leaves to the kernel stays.
		port := fmt.Sprint(12500 + round)
		s, err := scenario.Load("quick.yaml", []byte(quick), scenario.Settings{Set: map[string]string{"port": port}, Joined: join.Addresses()})
		if err != nil {
			t.Fatal(err)
		}
		var verdict journal.Verdict
		var notes, connected []string
		err = sandbox.RunWith(context.Background(), sandbox.With{Join: join}, scenario.Plan{Labs: s.Labs}, journal.Header{Version: journal.Version}, &bytes.Buffer{}, func(e journal.Event) {
			switch {
			case e.LabInfo != nil:
				verdict = e.LabInfo.Verdict
			case e.Note != nil:
				notes = append(notes, e.Note.Text)
			case e.Syscall != nil && e.Syscall.Name == "connect":
				connected = append(connected, e.Syscall.Args.Address.String())
			}
		})
		if err != nil || verdict != journal.Pass {
			t.Fatalf("round %d: %s, %v\n%s", round, verdict, err, strings.Join(notes, "\n"))
		}
		if !slices.Equal(connected, []string{"10.9.8.2:" + port}) {
			t.Errorf("round %d: connected to %v", round, connected)
		}
		// Said in the second round too: the first has not switched it off.
		if text := strings.Join(notes, "\n"); strings.Count(text, "checksum offload") != 2 || !strings.Contains(text, "were there before") {
			t.Errorf("round %d: notes:\n%s", round, text)
		}
	}
	for i, pid := range []int{server, client} {
		after := state(t, pid)
		if len(after) < 100 {
			t.Fatalf("only %d lines of state were read", len(after))
		}
		for _, l := range after {
			if !slices.Contains(before[i], l) {
				t.Errorf("host %d has changed: %s", i, l)
			}
		}
		if len(after) != len(before[i]) {
			t.Errorf("host %d: %d lines of state, and %d after", i, len(before[i]), len(after))
		}
	}
}

// Sockets that have the port already are told of, since expectations count them.
func TestJoinTellsOfEarlierSockets(t *testing.T) {
	server, client := holders(t)
	join, err := sandbox.OpenJoin(map[string]int{"server": server, "client": client})
	if err != nil {
		t.Fatal(err)
	}
	defer join.Close()
	const text = `
name: visit
programs:
  app:     {host: server, server: {address: 0.0.0.0}}
  visitor: {host: client, client: {address: server}}
steps:
  - start: app
  - run: visitor
  - stop: app
`
	s, err := scenario.Load("visit.yaml", []byte(text), scenario.Settings{Joined: join.Addresses()})
	if err != nil {
		t.Fatal(err)
	}
	// The first run leaves its TIME_WAIT in the namespace that stays.
	for round := range 2 {
		var verdict journal.Verdict
		told := ""
		err = sandbox.RunWith(context.Background(), sandbox.With{Join: join}, scenario.Plan{Labs: s.Labs}, journal.Header{Version: journal.Version}, &bytes.Buffer{}, func(e journal.Event) {
			switch {
			case e.LabInfo != nil:
				verdict = e.LabInfo.Verdict
			case e.Note != nil && strings.Contains(e.Note.Text, "not the lab's"):
				told = e.Note.Text
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		want, note := journal.Pass, ""
		if round == 1 {
			want, note = journal.Fail, "host server has sockets on port 12500 that are not the lab's: TIME_WAIT 10.9.8.2:12500; "
		}
		if verdict != want || !strings.HasPrefix(told, note) || (note == "") != (told == "") {
			t.Errorf("round %d: %s, told %q", round, verdict, told)
		}
	}
}

func TestJoinRefuses(t *testing.T) {
	server, _ := holders(t)
	for name, c := range map[string]struct {
		pids map[string]int
		want string
	}{
		"no process": {map[string]int{"server": 1 << 22}, "join server: there is no process 4194304 here"},
		"the same":   {map[string]int{"server": server, "client": server}, "are in the same network namespace; two hosts need two"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sandbox.OpenJoin(c.pids)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want ... %s", err, c.want)
			}
		})
	}
}
