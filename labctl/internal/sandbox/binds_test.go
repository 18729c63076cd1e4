package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

// bindOnly is a lab that only binds: two sockets on one port, the second refused.
func bindOnly(name string) scenario.Lab {
	return socketLab(name, []scenario.Socket{{Name: "old"}, {Name: "new"}},
		scenario.Step{Verb: scenario.VerbHold, Socket: "old", Hold: "LISTEN", Peer: "client"},
		step("bind", "new", "", expect(scenario.Expect{Result: "EADDRINUSE", Holders: scenario.Tally{"LISTEN": scenario.Exactly(1)}})),
		step("close", "old", "ok"),
		step("bind", "new", "ok"))
}

// TestOnlyBinds plays labs that only bind, each in one namespace, by one process, and
// a lab of the same kind that needs two hosts beside them.
func TestOnlyBinds(t *testing.T) {
	need(t)
	const many = 20
	var labs []scenario.Lab
	for i := range many {
		labs = append(labs, bindOnly(fmt.Sprint("lab ", i)))
	}
	other := bindOnly("other")
	other.Steps = append(other.Steps, scenario.Step{Verb: scenario.VerbNetstat, Host: "client", Index: 5, ID: "look", Within: time.Second})
	processes := map[int]bool{}
	for name, events := range passes(t, append(labs, other)...) {
		hosts, started, exited := map[string]bool{}, 0, 0
		for _, e := range events {
			if e.Change != nil && e.Change.What == "up" {
				hosts[e.Host+" "+e.Change.Interface] = true
			}
			if e.Process != nil && e.Process.Phase == journal.PhaseStart {
				started++
				if name != "other" {
					processes[e.PID] = true
				}
			}
			if e.Process != nil && e.Process.Phase == journal.PhaseExit {
				exited++
			}
			if e.Segment != nil {
				t.Errorf("%s: a segment", name)
			}
		}
		want := map[string]bool{"server lo": true}
		if name == "other" {
			want = map[string]bool{"server eth0": true, "client eth0": true}
		}
		if name == "" {
			continue // the run's own events
		}
		if fmt.Sprint(hosts) != fmt.Sprint(want) || started != 2 || exited != 2 {
			t.Errorf("%s: hosts %v, %d starts, %d exits", name, hosts, started, exited)
		}
	}
	if len(processes) != 1 {
		t.Errorf("%d processes made the calls of labs that only bind", len(processes))
	}
}

// TestUsers gives sockets and programs to other users: as root they are, with
// SO_REUSEPORT's rule to prove it; without root the lab is skipped and says why.
func TestUsers(t *testing.T) {
	need(t)
	other := uint32(os.Geteuid() + 4321)
	reusePort := []scenario.Option{{Name: "SO_REUSEPORT", Level: 1, Opt: 15, LevelName: "SOL_SOCKET", Int: on()}}
	binds := socketLab("binds", []scenario.Socket{{Name: "old", Options: reusePort, UID: &other}, {Name: "new", Options: reusePort}, {Name: "same", Options: reusePort, UID: &other}},
		step("bind", "old", "ok"), step("bind", "new", "", expect(scenario.Expect{Result: "EADDRINUSE", Holders: scenario.Tally{"BOUND": scenario.Exactly(1)}})),
		step("bind", "same", "ok"))
	held := socketLab("held", []scenario.Socket{{Name: "old", Options: reusePort, UID: &other}, {Name: "new", Options: reusePort}},
		scenario.Step{Verb: scenario.VerbHold, Socket: "old", Hold: "ESTABLISHED", Peer: "client"},
		step("bind", "new", "", expect(scenario.Expect{Result: "EADDRINUSE", Holders: scenario.Tally{"ESTABLISHED": scenario.Exactly(1)}})))
	low := socketLab("low", []scenario.Socket{{Name: "web", UID: &other}}, step("bind", "web", "EACCES"))
	low.Steps[0].Port = 80
	labs := []scenario.Lab{binds, held, low}
	if os.Geteuid() == 0 {
		for name, events := range passes(t, labs...) {
			for _, e := range events {
				if e.Process != nil && e.Process.Phase == journal.PhaseStart && (e.Program == "old" || e.Program == "same" || e.Program == "web") && e.Process.UID != int(other) {
					t.Errorf("%s: %s runs as uid %d", name, e.Program, e.Process.UID)
				}
			}
		}
		return
	}
	skipped(t, "without root a lab has only your own user", labs...)
}

// skipped plays labs that this machine cannot play: each must end so, for that reason.
func skipped(t *testing.T, reason string, labs ...scenario.Lab) {
	t.Helper()
	ended := 0
	for _, e := range play(t, scenario.Plan{Labs: labs}) {
		if l := e.LabInfo; l != nil && l.Phase == journal.PhaseEnd {
			ended++
			if l.Verdict != journal.Skipped || !strings.Contains(l.Skipped, reason) {
				t.Errorf("%s: verdict %s, skipped %q, error %q", e.Lab, l.Verdict, l.Skipped, l.Error)
			}
		}
	}
	if ended != len(labs) {
		t.Errorf("%d of %d labs ended", ended, len(labs))
	}
}

// TestLacking asks for a setting that no kernel has, at a lab's begin and in a step.
func TestLacking(t *testing.T) {
	need(t)
	nonsense := []scenario.Sysctl{{Name: "net.ipv4.tcp_nonsense", Value: "1"}}
	declared, set := bindOnly("declared"), bindOnly("set")
	declared.Hosts[0].Sysctls = nonsense
	set.Steps = append(set.Steps, scenario.Step{Verb: scenario.VerbSysctl, Host: "server", Sysctls: nonsense, Index: 5, ID: "set", Within: time.Second})
	skipped(t, "this kernel has no such setting", declared, set)
	set.Steps[4].Expect = &scenario.Expect{Result: "ENOENT"}
	passes(t, set)
}

// TestJobs plays more labs than may live at once.
func TestJobs(t *testing.T) {
	need(t)
	const jobs, many = 3, 12
	plan := scenario.Plan{Jobs: jobs}
	for i := range many {
		plan.Labs = append(plan.Labs, bindOnly(fmt.Sprint("lab ", i)))
	}
	alive, most, ended := 0, 0, 0
	for _, e := range play(t, plan) {
		switch l := e.LabInfo; {
		case l == nil:
		case l.Phase == journal.PhaseBegin:
			alive++
			most = max(most, alive)
		default:
			alive--
			ended++
		}
	}
	if most > jobs || ended != many {
		t.Errorf("%d labs ended; %d lived at once, of %d that may", ended, most, jobs)
	}
}

// TestCancelMany interrupts many labs while the first of them work: the others never
// begin, and those that have begun end as incomplete.
func TestCancelMany(t *testing.T) {
	need(t)
	const many = 300
	var plan scenario.Plan
	for i := range many {
		lab := bindOnly(fmt.Sprint("lab ", i))
		lab.Steps = append(lab.Steps, scenario.Step{Verb: scenario.VerbWait, For: time.Hour, Index: 5, ID: "wait", Within: 2 * time.Hour})
		plan.Labs = append(plan.Labs, lab)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	began, incomplete := 0, 0
	err := sandbox.Run(ctx, plan, journal.Header{Version: journal.Version}, &bytes.Buffer{}, func(e journal.Event) {
		l := e.LabInfo
		if l == nil {
			return
		}
		if l.Phase == journal.PhaseBegin {
			if began++; began == 1 {
				cancel()
			}
		} else if l.Verdict == journal.Incomplete {
			incomplete++
		} else {
			t.Errorf("%s: verdict %s %s", e.Lab, l.Verdict, l.Error)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if began == 0 || began == many || incomplete != began {
		t.Errorf("%d of %d labs began, %d ended as incomplete", began, many, incomplete)
	}
}
