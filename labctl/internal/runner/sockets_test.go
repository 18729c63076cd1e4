package runner

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// TestResults puts what an actor answered into the words of expectations.
func TestResults(t *testing.T) {
	bound := func(of string, port uint16) journal.Syscall {
		return journal.Syscall{Of: of, Name: "bind", Socket: &journal.SocketFacts{Local: netip.AddrPortFrom(netip.IPv4Unspecified(), port)}}
	}
	used := journal.Syscall{Of: "calls 2", Name: "bind", Result: -1, Errno: "EADDRINUSE", Number: 98,
		Args: journal.Args{Address: netip.MustParseAddrPort("0.0.0.0:80")}}
	option := journal.Syscall{Of: "old", Name: "setsockopt", Result: -1, Errno: "ENOPROTOOPT", Number: 92, Args: journal.Args{Option: "1/9999"}}
	number := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		command agent.Command
		call    string
		part    acting
		want    journal.Observed
	}{
		"one": {agent.Command{Verb: scenario.VerbBind, Socket: "old"}, "bind",
			acting{calls: []journal.Syscall{{Of: "old", Name: "socket"}, bound("old", 80)}},
			journal.Observed{Result: "ok", Port: number(80)}},
		"several, the second refused": {agent.Command{Verb: scenario.VerbBind, Socket: "calls", Count: 3}, "bind",
			acting{calls: []journal.Syscall{bound("calls 1", 80), used, bound("calls 3", 80)}},
			journal.Observed{Result: "EADDRINUSE", Results: map[string]int{"ok": 2, "EADDRINUSE": 1}, Port: number(80),
				Failure: "bind 0.0.0.0:80 by calls 2 on server: EADDRINUSE (98)"}},
		"refused before its own call": {agent.Command{Verb: scenario.VerbBind, Socket: "old"}, "bind",
			acting{calls: []journal.Syscall{{Of: "old", Name: "socket"}, option}},
			journal.Observed{Result: "ENOPROTOOPT", Failure: "setsockopt 1/9999 by old on server: ENOPROTOOPT (92)"}},
		"the text that is not like the rest": {agent.Command{Verb: scenario.VerbRecv, Socket: "calls", Count: 3}, "read",
			acting{calls: []journal.Syscall{{Of: "calls 1", Name: "read"}, {Of: "calls 2", Name: "read"}, {Of: "calls 3", Name: "read"}},
				texts: map[string]string{"calls 1": "hello", "calls 2": "hello", "calls 3": "bye"}},
			journal.Observed{Result: "ok", Results: map[string]int{"ok": 3}, Text: "bye"}},
		"not all were reached": {agent.Command{Verb: scenario.VerbAccept, Socket: "listener", As: "served", Calls: 3}, "accept",
			acting{calls: []journal.Syscall{{Of: "served 1", Name: "accept"}}},
			journal.Observed{Result: "ok", Results: map[string]int{"ok": 1}}},
		"none": {agent.Command{Verb: scenario.VerbListen, Socket: "old"}, "listen", acting{}, journal.Observed{}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, results(&c.part, c.call, "server", names(c.command))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestOnlyBinds tells labs that need one namespace alone from those that need more.
func TestOnlyBinds(t *testing.T) {
	device := scenario.Option{Name: "SO_BINDTODEVICE", Level: 1, Opt: 25, Text: "lo"}
	lab := func(change func(*scenario.Lab)) *scenario.Lab {
		l := &scenario.Lab{Hosts: []scenario.Host{{Name: "server"}, {Name: "client"}},
			Sockets: []scenario.Socket{{Name: "old", Host: "server"}, {Name: "far", Host: "client"}},
			Steps:   []scenario.Step{{Verb: scenario.VerbBind, Socket: "old"}, {Verb: scenario.VerbNetstat, Host: "server"}}}
		change(l)
		return l
	}
	add := func(s scenario.Step) func(*scenario.Lab) {
		return func(l *scenario.Lab) { l.Steps = append(l.Steps, s) }
	}
	for name, c := range map[string]struct {
		change func(*scenario.Lab)
		want   bool
	}{
		"binds and looks":         {func(*scenario.Lab) {}, true},
		"holds LISTEN":            {add(scenario.Step{Verb: scenario.VerbHold, Socket: "old", Hold: "LISTEN", Peer: "client"}), true},
		"holds TIME_WAIT":         {add(scenario.Step{Verb: scenario.VerbHold, Socket: "old", Hold: "TIME_WAIT", Peer: "client"}), false},
		"connects":                {add(scenario.Step{Verb: scenario.VerbConnect, Socket: "old"}), false},
		"another host":            {add(scenario.Step{Verb: scenario.VerbBind, Socket: "far"}), false},
		"looks at another host":   {add(scenario.Step{Verb: scenario.VerbNetstat, Host: "client"}), false},
		"waits":                   {add(scenario.Step{Verb: scenario.VerbWait, Host: "server"}), false},
		"an interface":            {func(l *scenario.Lab) { l.Sockets[0].Options = []scenario.Option{device} }, false},
		"an interface, later":     {add(scenario.Step{Verb: scenario.VerbSetsockopt, Socket: "old", Options: []scenario.Option{device}}), false},
		"a setting of the link":   {func(l *scenario.Lab) { l.Hosts[0].Sysctls = []scenario.Sysctl{{Name: "net.ipv4.conf.eth0.forwarding"}} }, false},
		"another setting":         {func(l *scenario.Lab) { l.Hosts[0].Sysctls = []scenario.Sysctl{{Name: "net.ipv4.tcp_fin_timeout"}} }, true},
		"a socket that was given": {func(l *scenario.Lab) { l.Sockets[0].Made = true }, false},
		"nothing":                 {func(l *scenario.Lab) { l.Steps = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			host, ok := onlyBinds(lab(c.change))
			if ok != c.want || ok && host.Name != "server" {
				t.Errorf("%v, on %q", ok, host.Name)
			}
		})
	}
}
