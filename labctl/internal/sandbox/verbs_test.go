package sandbox_test

import (
	"net/netip"
	"strings"
	"testing"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// step shortens what most steps are: a verb on a socket and the result wanted.
func step(verb, socket, result string, more ...func(*scenario.Step)) scenario.Step {
	s := scenario.Step{Verb: verb, Socket: socket}
	if result != "" {
		s.Expect = &scenario.Expect{Result: result}
	}
	for _, f := range more {
		f(&s)
	}
	return s
}

func to(address string, port uint16) func(*scenario.Step) {
	return func(s *scenario.Step) { s.Address, s.Port = netip.MustParseAddr(address), port }
}

func nonblock(s *scenario.Step)             { s.Nonblock = true }
func backlog(n int) func(*scenario.Step)    { return func(s *scenario.Step) { s.Backlog = n } }
func text(x string) func(*scenario.Step)    { return func(s *scenario.Step) { s.Text = x } }
func as(x string) func(*scenario.Step)      { return func(s *scenario.Step) { s.As = x } }
func program(x string) func(*scenario.Step) { return func(s *scenario.Step) { s.To = x } }
func count(n int) func(*scenario.Step)      { return func(s *scenario.Step) { s.Count = n } }
func id(x string) func(*scenario.Step)      { return func(s *scenario.Step) { s.ID = x } }

func expect(e scenario.Expect) func(*scenario.Step) { return func(s *scenario.Step) { s.Expect = &e } }

func set(o ...scenario.Option) func(*scenario.Step) {
	return func(s *scenario.Step) { s.Options = o }
}

func made(name, host string, count int) scenario.Socket {
	return scenario.Socket{Name: name, Host: host, Count: count, Made: true}
}

const server = "192.168.44.144"

// queued waits until so many connections wait at a listener.
func queued(socket string, n int64) scenario.Step {
	return scenario.Step{Verb: scenario.VerbWait, Socket: socket, Until: &scenario.Expect{Queued: scenario.Exactly(n)}}
}

// verbs are labs that together play every verb on sockets.
func verbs() []scenario.Lab {
	var reusePort = scenario.Option{Name: "SO_REUSEPORT", Level: 1, Opt: 15, LevelName: "SOL_SOCKET", Int: on()}
	talk := socketLab("talk", []scenario.Socket{{Name: "listener"}, {Name: "call", Host: "client"}, made("served", "server", 1)},
		step("bind", "listener", "ok", expect(scenario.Expect{Port: scenario.Exactly(port)})),
		step("accept", "listener", "EINVAL", nonblock, as("served")),
		step("listen", "listener", "ok", backlog(8)),
		step("accept", "listener", "EAGAIN", nonblock, as("served")),
		step("connect", "call", "ok", to(server, port)),
		queued("listener", 1),
		step("accept", "listener", "ok", as("served")),
		step("recv", "served", "EAGAIN", nonblock),
		step("send", "served", "ok", text("hello")),
		step("recv", "call", "", expect(scenario.Expect{Result: "ok", Text: "hello"})),
		step("shutdown", "call", "ok", func(s *scenario.Step) { s.How = "SHUT_WR" }),
		step("recv", "served", "ok"),
		step("send", "call", "EPIPE", text("more")),
		step("close", "served", "ok"),
		step("close", "served", "EBADF"),
		step("connect", "call", "EISCONN", to(server, port)),
		step("setsockopt", "listener", "ok", set(reuseAddr)),
		step("setsockopt", "listener", "ENOPROTOOPT", set(scenario.Option{Name: "1/9999", Level: 1, Opt: 9999, LevelName: "1", Int: on()})),
	)
	refused := socketLab("refused", []scenario.Socket{{Name: "call", Host: "client"}, {Name: "slow", Host: "client"}},
		step("connect", "call", "ECONNREFUSED", to(server, port)),
		scenario.Step{Verb: scenario.VerbDrop, Host: "server", Segments: "SYN"},
		step("connect", "slow", "EINPROGRESS", nonblock, to(server, port)),
	)
	// SYN is sent again after a second: the first is lost, the second arrives.
	lost := socketLab("lost", []scenario.Socket{{Name: "listener"}, {Name: "call", Host: "client"}},
		step("bind", "listener", ""), step("listen", "listener", "", backlog(8)),
		scenario.Step{Verb: scenario.VerbDrop, Host: "server", Segments: "SYN", Count: 1},
		step("connect", "call", "", to(server, port), expect(scenario.Expect{Result: "ok", Took: &scenario.Took{Amount: scenario.Amount{Min: ns(900e6)}}})),
	)
	handOver := socketLab("hand over", []scenario.Socket{{Name: "listener", Program: "old"}, {Name: "calls", Host: "client", Count: 40},
		{Name: "inherited", Program: "new", Host: "server", Made: true, Count: 1}, made("served", "server", 40)},
		step("bind", "listener", ""), step("listen", "listener", "", backlog(64)),
		step("connect", "calls", "ok", to(server, port)),
		step("pass", "listener", "ok", program("new"), as("inherited")),
		scenario.Step{Verb: scenario.VerbStop, Program: "old", Signal: "SIGTERM"},
		queued("inherited", 40),
		step("accept", "inherited", "ok", as("served"), count(40)),
		step("send", "served", "ok", text("hello")),
		step("recv", "calls", "", expect(scenario.Expect{Result: "ok", Text: "hello"})),
	)
	handOver.Programs = []scenario.Program{{Name: "old", Host: "server"}, {Name: "new", Host: "server"}}
	heir := socketLab("heir", []scenario.Socket{{Name: "listener", Program: "old"}, {Name: "call", Host: "client"}, {Name: "again"},
		{Name: "kept", Program: "child", Host: "server", Made: true, Count: 1}, made("served", "server", 1)},
		step("bind", "listener", ""), step("listen", "listener", "", backlog(8)),
		step("inherit", "listener", "ok", program("child"), as("kept")),
		scenario.Step{Verb: scenario.VerbStop, Program: "old", Signal: "SIGKILL"},
		step("bind", "again", "", expect(scenario.Expect{Result: "EADDRINUSE", Holders: scenario.Tally{"LISTEN": scenario.Exactly(1)}})),
		step("connect", "call", "ok", to(server, port)),
		step("accept", "kept", "ok", as("served")),
		scenario.Step{Verb: scenario.VerbStop, Program: "child", Signal: "SIGTERM"},
		step("recv", "call", "ok"), // its FIN
		step("bind", "again", "", expect(scenario.Expect{Any: true})),
	)
	heir.Programs = []scenario.Program{{Name: "old", Host: "server"}, {Name: "child", Host: "server"}}
	killed := socketLab("killed", []scenario.Socket{{Name: "old", Options: []scenario.Option{reuseAddr}}, {Name: "new"}, {Name: "live"}},
		scenario.Step{Verb: scenario.VerbHold, Socket: "old", Hold: "TIME_WAIT", Peer: "client"},
		step("bind", "new", "EADDRINUSE"),
		step("destroy", "old", "ok"),
		step("bind", "new", "ok"),
		step("listen", "new", "ok", backlog(1)),
		step("destroy", "old", "ENOENT"),
		step("destroy", "new", "ok"),
		step("bind", "live", "EADDRINUSE"), // closed, but still open: it keeps its port
		step("close", "new", "ok"),
		step("bind", "live", "ok"),
	)
	listenRace := socketLab("listen race", []scenario.Socket{{Name: "one", Options: []scenario.Option{reuseAddr}}, {Name: "two", Options: []scenario.Option{reuseAddr}}},
		step("bind", "one", ""), step("bind", "two", ""), step("listen", "one", "", backlog(1)),
		step("listen", "two", "", backlog(1), expect(scenario.Expect{Result: "EADDRINUSE", Holders: scenario.Tally{"LISTEN": scenario.Exactly(1)}})),
		step("close", "one", ""), step("listen", "two", "ok", backlog(1)),
	)
	datagrams := socketLab("datagrams", []scenario.Socket{{Name: "one", Kind: scenario.UDP4}, {Name: "two", Kind: scenario.UDP4}, {Name: "call", Kind: scenario.UDP4, Host: "client"}},
		step("bind", "one", "ok"),
		step("bind", "two", "", expect(scenario.Expect{Result: "EADDRINUSE", Holders: scenario.Tally{"UNCONN": scenario.Exactly(1)}})),
		step("connect", "call", "ok", to(server, port)),
		step("send", "call", "ok", text("hello")),
		step("recv", "one", "", expect(scenario.Expect{Text: "hello"})),
	)
	devices := socketLab("devices", []scenario.Socket{
		{Name: "link", Options: []scenario.Option{{Name: "SO_BINDTODEVICE", Level: 1, Opt: 25, LevelName: "SOL_SOCKET", Text: "link"}}},
		{Name: "lo", Options: []scenario.Option{{Name: "SO_BINDTODEVICE", Level: 1, Opt: 25, LevelName: "SOL_SOCKET", Text: "lo"}}},
		{Name: "none"}},
		step("bind", "link", "ok"), step("bind", "lo", "ok"), step("bind", "none", "EADDRINUSE"))
	several := socketLab("several", []scenario.Socket{{Name: "group", Count: 3, Options: []scenario.Option{reusePort}}, {Name: "alone"}},
		step("bind", "group", "ok"), step("listen", "group", "ok", backlog(4)),
		step("bind", "alone", "", expect(scenario.Expect{Result: "EADDRINUSE", Holders: scenario.Tally{"LISTEN": scenario.Exactly(3)}})))
	return []scenario.Lab{talk, refused, lost, handOver, heir, killed, listenRace, datagrams, devices, several}
}

func ns(n int64) *int64 { return &n }

func TestVerbs(t *testing.T) {
	need(t)
	for name, events := range passes(t, verbs()...) {
		calls := 0
		for _, e := range events {
			if e.Syscall == nil {
				continue
			}
			calls++
			if e.Syscall.Of == "" || e.PID == 0 || e.Step == 0 || e.Syscall.Start == 0 {
				t.Errorf("%s: a call that does not say of what, by whom or when: %+v", name, e.Syscall)
			}
		}
		if calls == 0 && name != "" {
			t.Errorf("%s made no call", name)
		}
	}
}

// TestBlocked has a call that never returns: its step ends at its deadline, says so,
// and the lab ends. A cancelled one does not wait for it either.
func TestBlocked(t *testing.T) {
	need(t)
	lab := socketLab("blocked", []scenario.Socket{{Name: "listener"}, made("served", "server", 1)},
		step("bind", "listener", ""), step("listen", "listener", "", backlog(1)),
		step("accept", "listener", "", as("served"), id("blocked")), step("close", "listener", ""))
	lab.Steps[2].Within = 50e6
	events := play(t, scenario.Plan{Labs: []scenario.Lab{lab}})
	if v, at := verdict(events); v != journal.Fail || at != "blocked" {
		t.Errorf("verdict %s at %q", v, at)
	}
	if said := why(events); !strings.Contains(said, "accept on listener did not return within 50ms") {
		t.Error(said)
	}
}
