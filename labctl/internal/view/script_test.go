package view

import (
	"encoding/json"
	"net/netip"

	"restartlab/labctl/internal/journal"
)

// script writes the journal of a run as the lab would: numbers count up, time
// passes, steps have their index.
type script struct {
	events []journal.Event
	t      int64
	lab    string
	step   *journal.Step
	began  int64
}

const (
	us = int64(1e3)
	ms = int64(1e6)
	s  = int64(1e9)
)

func (sc *script) add(after int64, e journal.Event) int {
	sc.t += after
	e.N, e.T, e.Lab = len(sc.events)+1, sc.t, sc.lab
	if sc.step != nil {
		e.Step = sc.step.Index
	}
	if e.Kind == journal.KindHeader {
		e.Lab = ""
	}
	sc.events = append(sc.events, e)
	return e.N
}

// begin writes the header and the events of a lab that is up.
func begin(name string, title journal.Text, steps int) *script {
	sc := &script{lab: name}
	sc.add(0, journal.Event{Kind: journal.KindHeader, Header: &journal.Header{
		Version: journal.Version, Labctl: "v1", Rootless: true, Started: "2026-01-02T03:04:05Z",
		Scenario: journal.Scenario{Name: name, File: name + ".yaml", Title: title},
		Machine:  journal.Machine{Kernel: "6.18.2", Arch: "x86_64", HZ: 250, CPUs: 2},
	}})
	sc.add(8*ms, journal.Event{Kind: journal.KindLab, LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Port: 12500, Steps: steps}})
	for i, h := range []string{"server", "client"} {
		last := string(rune('4' + i))
		sc.add(ms, journal.Event{Kind: journal.KindHost, Host: h, Change: &journal.Change{What: "up", Interface: "eth0",
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.14" + last + "/24"), netip.MustParsePrefix("2001:db8:44::14" + last + "/64")}}})
	}
	return sc
}

func (sc *script) end(v journal.Verdict, why string) []journal.Event {
	sc.add(ms, journal.Event{Kind: journal.KindLab, LabInfo: &journal.Lab{Phase: journal.PhaseEnd, Verdict: v, Error: why}})
	return sc.events
}

// open begins a step; expected is JSON, or empty.
func (sc *script) open(index int, id, verb, object, expected string) {
	st := &journal.Step{Phase: journal.PhaseBegin, Index: index, ID: id, Verb: verb, Object: object, Line: 10 + 2*index, Within: 10 * s}
	if expected != "" {
		st.Expected = json.RawMessage(expected)
	}
	sc.step, sc.began = st, sc.t
	sc.add(100*us, journal.Event{Kind: journal.KindStep, StepRun: st})
}

// close ends the open step.
func (sc *script) close(v journal.Verdict, o journal.Observed, bad ...journal.Mismatch) {
	st := *sc.step
	st.Phase, st.Verdict, st.Observed, st.Mismatches = journal.PhaseEnd, v, &o, bad
	st.Duration = sc.t - sc.began
	sc.add(50*us, journal.Event{Kind: journal.KindStep, StepRun: &st})
	sc.step = nil
}

func (sc *script) skip(index int, id string) {
	sc.add(10*us, journal.Event{Kind: journal.KindStep, Step: index, StepRun: &journal.Step{
		Phase: journal.PhaseEnd, Index: index, ID: id, Verdict: journal.Skipped}})
}

func (sc *script) prints(after int64, program string, lines ...string) {
	for _, l := range lines {
		sc.add(after, journal.Event{Kind: journal.KindProcess, Program: program, PID: 7,
			Process: &journal.Process{Phase: journal.PhaseOutput, Stream: "stdout", Line: l}})
	}
}

func (sc *script) process(program string, p journal.Process) {
	sc.add(200*us, journal.Event{Kind: journal.KindProcess, Program: program, PID: 7, Process: &p})
}

func (sc *script) call(program string, c journal.Syscall) int {
	c.Start, c.Duration = sc.t, 12*us
	host := "server"
	if program == "visitor" {
		host = "client"
	}
	return sc.add(12*us, journal.Event{Kind: journal.KindSyscall, Host: host, Program: program, PID: 7, Syscall: &c})
}

func (sc *script) table(reason string, after int, rows ...journal.Socket) {
	sc.add(300*us, journal.Event{Kind: journal.KindSockets, Host: "server",
		Sockets: &journal.Sockets{Reason: reason, After: after, Rows: rows}})
}

func addr(a string) netip.AddrPort { return netip.MustParseAddrPort(a) }

var (
	listener = journal.Socket{Family: "tcp", State: "LISTEN", Local: addr("0.0.0.0:12500"), SendQ: 16, Cookie: 1, Inode: 9}
	no       = false
	unset    = &journal.SocketFacts{Cookie: 1, Local: addr("0.0.0.0:12500"), ReuseAddr: &no, ReusePort: &no}
)

// timeWait is the row of a closed connection with so much time left.
func timeWait(left int64) journal.Socket {
	return journal.Socket{Family: "tcp", State: "TIME_WAIT", Local: addr("192.168.44.144:12500"),
		Remote: addr("192.168.44.145:40112"), Timer: "timewait", TimeLeft: &left, Cookie: 3}
}

// starts is the app's start: it binds and listens.
func (sc *script) starts(index int, id string) {
	sc.open(index, id, "start", "app", "")
	sc.call("app", journal.Syscall{Name: "socket", FD: 3, Result: 3, Args: journal.Args{Domain: "AF_INET", Type: "SOCK_STREAM"}, Socket: unset})
	sc.call("app", journal.Syscall{Name: "bind", FD: 3, Args: journal.Args{Address: addr("0.0.0.0:12500")}, Socket: unset})
	sc.call("app", journal.Syscall{Name: "listen", FD: 3, Socket: unset})
	sc.prints(300*us, "app", "server init ok, start to accept new connect...")
	sc.table("step", 0, listener)
	sc.close(journal.Pass, journal.Observed{Bind: "ok", Listen: "ok"})
}

// refused is the app's start while something holds the port.
func (sc *script) refused(index int, id, expected string, v journal.Verdict, held journal.Socket, bad ...journal.Mismatch) {
	sc.open(index, id, "start", "app", expected)
	facts := *unset
	facts.Cookie, facts.Local = 9, netip.AddrPort{}
	n := sc.call("app", journal.Syscall{Name: "bind", FD: 3, Result: -1, Errno: "EADDRINUSE", Number: 98,
		Args: journal.Args{Address: addr("0.0.0.0:12500")}, Socket: &facts})
	sc.table("refused", n, held)
	sc.prints(100*us, "app", "socket bind error=98(Address already in use)!!!")
	exit := 98
	sc.process("app", journal.Process{Phase: journal.PhaseExit, Exit: &exit})
	sc.table("step", 0, held)
	sc.close(v, journal.Observed{Bind: "EADDRINUSE", Exit: &exit, Holders: map[string]int{held.State: 1},
		Failure: "bind 0.0.0.0:12500: EADDRINUSE (98)"}, bad...)
}

// visit is a client's visit: the server greets and closes first.
func (sc *script) visit(index int) {
	sc.open(index, "visit", "run", "visitor", `{"lines":["connIdx=0","finRead(0): read FIN-Segment"]}`)
	sc.call("visitor", journal.Syscall{Name: "connect", FD: 3, Args: journal.Args{Address: addr("192.168.44.144:12500")},
		Socket: &journal.SocketFacts{Cookie: 2, Local: addr("192.168.44.145:40112"), Remote: addr("192.168.44.144:12500")}})
	child := &journal.SocketFacts{Cookie: 3, Local: addr("192.168.44.144:12500"), Remote: addr("192.168.44.145:40112"), ReuseAddr: &no, ReusePort: &no}
	sc.call("app", journal.Syscall{Name: "accept", FD: 4, Listener: 3, Result: 4, Args: journal.Args{Address: addr("192.168.44.145:40112")}, Socket: child})
	sc.prints(80*us, "app", "accept one new connect(0)!!!")
	sc.call("app", journal.Syscall{Name: "write", FD: 4, Result: 10, Args: journal.Args{Text: "connIdx=0\n"}, Socket: child})
	sc.call("app", journal.Syscall{Name: "close", FD: 4})
	sc.prints(90*us, "visitor", "connect to server ok!", "connIdx=0", "finRead(0): read FIN-Segment")
	exit := 0
	sc.close(journal.Pass, journal.Observed{Connect: "ok", Exit: &exit})
}

func (sc *script) stops(index int, id string) {
	sc.open(index, id, "stop", "app", "")
	sc.process("app", journal.Process{Phase: journal.PhaseSignal, Signal: "SIGINT"})
	sc.process("app", journal.Process{Phase: journal.PhaseExit, Signal: "SIGINT"})
	sc.table("step", 0, timeWait(59990))
	sc.close(journal.Pass, journal.Observed{Signal: "SIGINT"})
}

var question = journal.Text{EN: "Why can the server not restart for a minute?", ZH: "为什么服务器在一分钟内无法重新启动？"}

// timewait is the article's experiment, as it goes well.
func timewait() []journal.Event {
	sc := begin("timewait", question, 7)
	sc.starts(1, "start app")
	sc.visit(2)
	sc.stops(3, "stop app")
	sc.open(4, "wait server", "wait", "server", `{"states":{"TIME_WAIT":1}}`)
	sc.table("step", 0, timeWait(59980))
	sc.close(journal.Pass, journal.Observed{States: map[string]int{"TIME_WAIT": 1}, Queued: new(int)})
	sc.refused(5, "start app 2", `{"bind":"EADDRINUSE","holders":{"TIME_WAIT":1}}`, journal.Pass, timeWait(59970))
	sc.open(6, "wait server 2", "wait", "server", `{"took":{"since":"visit","min":"60s","max":"66s"}}`)
	sc.table("wait", 0, timeWait(59960))
	sc.add(61*s+200*ms, journal.Event{Kind: journal.KindSockets, Host: "server", Sockets: &journal.Sockets{Reason: "step"}})
	sc.close(journal.Pass, journal.Observed{States: map[string]int{}, Queued: new(int), Took: 61*s + 205*ms})
	sc.starts(7, "start app 3")
	return sc.end(journal.Pass, "")
}

// failing expects the restart to work at once, and it does not.
func failing() []journal.Event {
	sc := begin("hopeful", journal.Text{EN: "Can the server restart at once?"}, 6)
	sc.starts(1, "start app")
	sc.visit(2)
	sc.stops(3, "stop app")
	sc.refused(4, "start app 2", `{"bind":"ok","holders":{}}`, journal.Fail, timeWait(59970),
		journal.Mismatch{Field: "step", Want: "success", Got: "bind 0.0.0.0:12500: EADDRINUSE (98)"},
		journal.Mismatch{Field: "bind", Want: "ok", Got: "EADDRINUSE"})
	sc.skip(5, "wait server")
	sc.skip(6, "start app 3")
	return sc.end(journal.Fail, "")
}

// broken is a lab that cannot go on.
func broken() []journal.Event {
	sc := begin("broken", journal.Text{EN: "What if the lab cannot do its work?"}, 2)
	sc.open(1, "netstat server", "netstat", "server", "")
	sc.close(journal.Error, journal.Observed{Failure: "read the socket table of host server: netlink receive: no buffer space available"})
	sc.skip(2, "start app")
	return sc.end(journal.Error, "read the socket table of host server: netlink receive: no buffer space available")
}

// killed is a run that was cut short while it waited.
func killed() []journal.Event {
	sc := begin("timewait", question, 7)
	sc.starts(1, "start app")
	sc.stops(2, "stop app")
	sc.open(3, "wait server", "wait", "server", `{"states":{}}`)
	sc.table("wait", 0, timeWait(59960))
	sc.prints(2*s, "app", "still here")
	return sc.events
}

// odd has programs, names and tables of the kind that breaks layouts.
func odd() []journal.Event {
	sc := begin("odd", journal.Text{EN: "一个服务器重启时，内核如何处理它的端口？这个标题很长，必须在合适的地方换行，宽度按两列计算。"}, 5)
	sc.open(1, "start app", "start", "app", "")
	sc.step.Title = journal.Text{EN: "起動するプログラムの題名がとても長くて、名前の列に入らない場合、それはどこに置かれるのでしょうか"}
	sc.prints(us, "app",
		"\x1b[31mred\x1b[0m and \x1b]0;a title\x07plain", "bell \a, back\b\b\b, nul \x00, \x9b31m", "a\ttab, \x1b[2J\x1b[Hno clearing",
		"bad bytes \xff\xfe", "turned \u202etxet\u202c", "", "   three spaces kept",
		"这一行是中文输出，没有空格，所以必须按照字符的宽度来换行，而不是按照字节数来换行，否则终端会出现错位的情况。",
		"a-very-long-word-"+longWord, "\x1b]0;never ended")
	sc.close(journal.Pass, journal.Observed{Ready: "line"})
	sc.open(2, "wait app", "wait", "app", `{"lines":["ok"]}`)
	for range 3 {
		sc.prints(600*ms, "app", "tick")
	}
	sc.process("visitor", journal.Process{Phase: journal.PhaseExit, Signal: "SIGSEGV"})
	sc.prints(ms, "app", "ok")
	sc.close(journal.Pass, journal.Observed{Lines: []string{"ok"}})
	sc.open(3, "netstat server", "netstat", "server", "")
	rows := []journal.Socket{
		{Family: "tcp6", State: "ESTABLISHED", Local: addr("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:1111]:12500"),
			Remote: addr("[2001:db8:aaaa:bbbb:cccc:dddd:eeee:2222]:50000"), Timer: "keepalive", TimeLeft: new(int64)},
		timeWait(100)}
	for range 20 {
		rows = append(rows, listener)
	}
	sc.table("step", 0, rows...)
	sc.close(journal.Pass, journal.Observed{States: map[string]int{"ESTABLISHED": 1, "TIME_WAIT": 1, "LISTEN": 20}, Queued: new(int)})
	sc.open(4, "sysctl server", "sysctl", "server", "")
	sc.add(ms, journal.Event{Kind: journal.KindHost, Host: "server", Change: &journal.Change{What: "sysctl",
		Sysctls: map[string]string{"net.ipv4.tcp_rmem": "4096\t131072\t6291456", "net.ipv4.tcp_fin_timeout": "5"}}})
	sc.close(journal.Pass, journal.Observed{Result: "ok"})
	sc.add(0, journal.Event{Kind: journal.KindNote, Note: &journal.Note{Text: "the congestion control of host server could not be pinned to reno: it is cubic, and the run is not quite like others"}})
	sc.open(5, "link server", "link", "server", "")
	sc.add(ms, journal.Event{Kind: journal.KindHost, Host: "server", Change: &journal.Change{What: "link", Interface: "eth0", State: "down"}})
	sc.close(journal.Pass, journal.Observed{Result: "ok"})
	return sc.end(journal.Pass, "")
}

const longWord = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
