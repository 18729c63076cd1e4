package explain

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

// run writes a journal for a History as the runner would. Each event takes one
// millisecond.
type run struct {
	h      History
	n      int
	t      int64
	facts  map[uint64]*journal.SocketFacts // by cookie
	uid    int
	unlist []string
}

const ms = 1_000_000

func newRun() *run {
	r := &run{facts: map[uint64]*journal.SocketFacts{}}
	r.add(journal.Event{Host: "server", Change: &journal.Change{What: "up", Interface: "eth0",
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.144/24"), netip.MustParsePrefix("2001:db8:44::144/64")},
		Sysctls:   map[string]string{"net.ipv4.ip_unprivileged_port_start": "1024", "net.ipv4.ip_local_port_range": "32768\t60999"}}})
	r.add(journal.Event{Host: "client", Change: &journal.Change{What: "up", Interface: "eth0",
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.145/24")}}})
	return r
}

func (r *run) add(e journal.Event) int {
	r.n++
	r.t += ms
	e.N, e.T, e.Lab = r.n, r.t, "test"
	r.h.Add(e)
	return r.n
}

func (r *run) step() { r.add(journal.Event{StepRun: &journal.Step{Phase: journal.PhaseBegin}}) }

func (r *run) process(program string, pid int, p journal.Process) int {
	host := "server"
	if program == "visitor" {
		host = "client"
	}
	p.UID = r.uid
	return r.add(journal.Event{Host: host, Program: program, PID: pid, Process: &p})
}

func (r *run) start(program string, pid int) int {
	return r.process(program, pid, journal.Process{Phase: journal.PhaseStart})
}

func (r *run) exit(program string, pid int, signal string) int {
	return r.process(program, pid, journal.Process{Phase: journal.PhaseExit, Signal: signal})
}

// call records a call that took up half of the millisecond before it.
func (r *run) call(program string, pid int, c journal.Syscall, cookie uint64) int {
	host := "server"
	if program == "visitor" {
		host = "client"
	}
	if f := r.facts[cookie]; f != nil {
		now := *f
		c.Socket = &now
	}
	c.Start, c.Duration = r.t+ms/2, ms/2
	return r.add(journal.Event{Host: host, Program: program, PID: pid, Syscall: &c})
}

func ptr(b bool) *bool { return &b }

// socket makes a socket with its options set.
func (r *run) socket(program string, pid, fd int, cookie uint64, a, p bool) {
	r.facts[cookie] = &journal.SocketFacts{Cookie: cookie, ReuseAddr: ptr(a), ReusePort: ptr(p)}
	r.call(program, pid, journal.Syscall{Name: "socket", FD: fd}, cookie)
}

func addr(s string) netip.AddrPort {
	if s == "" {
		return netip.AddrPort{}
	}
	return netip.MustParseAddrPort(s)
}

func (r *run) bind(program string, pid, fd int, cookie uint64, to, errno string) int {
	c := journal.Syscall{Name: "bind", FD: fd, Args: journal.Args{Address: addr(to)}}
	if errno == "" {
		r.facts[cookie].Local = addr(to)
	} else {
		c.Result, c.Errno, c.Number = -1, errno, map[string]int{"EADDRINUSE": 98, "EADDRNOTAVAIL": 99, "EACCES": 13, "EINVAL": 22, "EIO": 5}[errno]
	}
	return r.call(program, pid, c, cookie)
}

func (r *run) listen(program string, pid, fd int, cookie uint64) int {
	return r.call(program, pid, journal.Syscall{Name: "listen", FD: fd}, cookie)
}

func (r *run) listener(program string, pid int, cookie uint64, to string, a, p bool) int {
	r.start(program, pid)
	r.socket(program, pid, 3, cookie, a, p)
	r.bind(program, pid, 3, cookie, to, "")
	return r.listen(program, pid, 3, cookie)
}

func (r *run) connect(program string, pid, fd int, cookie uint64, local, remote string) int {
	r.start(program, pid)
	r.socket(program, pid, fd, cookie, false, false)
	r.facts[cookie].Local, r.facts[cookie].Remote = addr(local), addr(remote)
	return r.call(program, pid, journal.Syscall{Name: "connect", FD: fd}, cookie)
}

func (r *run) accept(program string, pid, fd int, cookie uint64, local, remote string, a, p bool) int {
	r.facts[cookie] = &journal.SocketFacts{Cookie: cookie, Local: addr(local), Remote: addr(remote), ReuseAddr: ptr(a), ReusePort: ptr(p)}
	return r.call(program, pid, journal.Syscall{Name: "accept", FD: fd, Listener: 3}, cookie)
}

func (r *run) close(program string, pid, fd int) int {
	return r.call(program, pid, journal.Syscall{Name: "close", FD: fd}, 0)
}

func (r *run) fin(program string, pid, fd int, cookie uint64) int {
	return r.call(program, pid, journal.Syscall{Name: "read", FD: fd}, cookie)
}

func (r *run) table(after int, rows ...journal.Socket) int {
	return r.add(journal.Event{Host: "server", Sockets: &journal.Sockets{Reason: "refused", After: after, Rows: rows, Unlisted: r.unlist}})
}

func row(state, local, remote string, cookie uint64) journal.Socket {
	s := journal.Socket{Family: "tcp", State: state, Local: addr(local), Remote: addr(remote), Cookie: cookie}
	if state == "TIME_WAIT" {
		left := int64(59_900)
		s.Timer, s.TimeLeft = "timewait", &left
	}
	return s
}

func open(s journal.Socket) journal.Socket { s.Inode = 4711; return s }

const (
	any4   = "0.0.0.0:12500"
	server = "192.168.44.144:12500"
	client = "192.168.44.145:40112"
)

// visit is the article's experiment up to the TIME_WAIT: a server without or
// with the option, a client, and the server stopped by SIGINT.
func (r *run) visit(a bool) {
	r.listener("app", 7, 11, any4, a, false)
	r.connect("visitor", 8, 3, 21, client, server)
	r.accept("app", 7, 4, 12, server, client, a, false)
	r.close("app", 7, 4)
	r.fin("visitor", 8, 3, 21)
	r.close("visitor", 8, 3)
	r.exit("visitor", 8, "")
	r.step()
	r.process("app", 7, journal.Process{Phase: journal.PhaseSignal, Signal: "SIGINT"})
	r.exit("app", 7, "SIGINT")
}

// again starts the server anew, with the bind refused, and returns its number.
func (r *run) again(pid int, a, p bool) int {
	r.start("app", pid)
	r.socket("app", pid, 3, uint64(pid), a, p)
	return r.bind("app", pid, 3, uint64(pid), any4, "EADDRINUSE")
}

func TestRefusal(t *testing.T) {
	tests := []struct {
		name string
		play func(r *run) (refused int)
		want string
	}{
		{"time wait", func(r *run) int {
			r.visit(false)
			n := r.again(9, false, false)
			r.table(n, row("TIME_WAIT", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; this side closed first; " +
			"neither socket had SO_REUSEADDR. Fix: set SO_REUSEADDR before bind() in every run, or wait."},
		{"time wait, the option too late", func(r *run) int {
			r.visit(false)
			n := r.again(9, true, false)
			r.table(n, row("TIME_WAIT", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; this side closed first; " +
			"only the new socket had SO_REUSEADDR. Fix: set SO_REUSEADDR before bind() in the first run too (set only in this one, it helps from the next restart on), or wait."},
		{"time wait, the option taken away", func(r *run) int {
			r.visit(true)
			n := r.again(9, false, false)
			r.table(n, row("TIME_WAIT", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; this side closed first; " +
			"only the old socket had SO_REUSEADDR. Fix: set SO_REUSEADDR before bind() in this run too, or wait."},
		{"time wait of a program that is not recorded", func(r *run) int {
			n := r.again(9, false, false)
			r.table(n, row("TIME_WAIT", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; which side closed first is unknown; " +
			"the new socket had no SO_REUSEADDR; whether the old one had is unknown. Fix: set SO_REUSEADDR before bind() in every run, or wait."},
		{"the same, where the kernel's memory tells", func(r *run) int {
			n := r.again(9, true, false)
			w := row("TIME_WAIT", server, client, 12)
			w.ReuseAddr, w.ReusePort, w.Bucket = ptr(false), ptr(false), &journal.Bucket{}
			r.table(n, w)
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; which side closed first is unknown; " +
			"only the new socket had SO_REUSEADDR (kernel: the old socket's skc_reuse 0, the port's fastreuse 0). " +
			"Fix: set SO_REUSEADDR before bind() in the first run too (set only in this one, it helps from the next restart on), or wait."},
		{"a bound socket, whose bucket the kernel passes over", func(r *run) int {
			n := r.again(9, true, false)
			w := open(row("BOUND", any4, "", 11))
			w.ReuseAddr, w.ReusePort = ptr(false), ptr(false)
			r.table(n, w)
			return n
		}, "EADDRINUSE (98): held by BOUND 0.0.0.0:12500; which process has it open is unknown; " +
			"only the new socket had SO_REUSEADDR (kernel: the old socket's skc_reuse 0). " +
			"Fix: set SO_REUSEADDR before bind() in the first run too (set only in this one, it helps from the next restart on), or stop the process that has it open."},
		{"the same, seen by a client that is", func(r *run) int {
			r.connect("visitor", 8, 3, 21, client, server)
			r.fin("visitor", 8, 3, 21)
			r.close("visitor", 8, 3)
			n := r.again(9, true, false)
			r.table(n, row("TIME_WAIT", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; this side closed first; " +
			"the new socket had SO_REUSEADDR; whether the old one had is unknown. Fix: set SO_REUSEADDR before bind() in every run, or wait."},
		{"time wait of a client's own port", func(r *run) int {
			r.listener("app", 7, 11, any4, false, false)
			r.connect("visitor", 8, 3, 21, client, server)
			r.accept("app", 7, 4, 12, server, client, false, false)
			r.fin("app", 7, 4, 12)
			r.close("app", 7, 4)
			n := r.again(9, false, false)
			r.table(n, row("TIME_WAIT", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; the peer closed first; " +
			"neither socket had SO_REUSEADDR. Fix: set SO_REUSEADDR before bind() in every run, or wait."},
		{"killed with a connection open", func(r *run) int {
			r.listener("app", 7, 11, any4, false, false)
			r.connect("visitor", 8, 3, 21, client, server)
			r.accept("app", 7, 4, 12, server, client, false, false)
			r.step()
			r.process("app", 7, journal.Process{Phase: journal.PhaseSignal, Signal: "SIGKILL"})
			r.exit("app", 7, "SIGKILL")
			r.step()
			r.process("visitor", 8, journal.Process{Phase: journal.PhaseSignal, Signal: "SIGTERM"})
			r.exit("visitor", 8, "SIGTERM")
			n := r.again(9, false, false)
			r.table(n, row("TIME_WAIT", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; this side closed first; " +
			"neither socket had SO_REUSEADDR. Fix: set SO_REUSEADDR before bind() in every run, or wait."},
		{"both ends killed in one step", func(r *run) int {
			r.listener("app", 7, 11, any4, false, false)
			r.connect("visitor", 8, 3, 21, client, server)
			r.accept("app", 7, 4, 12, server, client, false, false)
			r.step()
			r.process("app", 7, journal.Process{Phase: journal.PhaseSignal, Signal: "SIGKILL"})
			r.process("visitor", 8, journal.Process{Phase: journal.PhaseSignal, Signal: "SIGKILL"})
			r.exit("app", 7, "SIGKILL")
			r.exit("visitor", 8, "SIGKILL")
			n := r.again(9, false, false)
			r.table(n, row("TIME_WAIT", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left; which side closed first is unknown; " +
			"neither socket had SO_REUSEADDR. Fix: set SO_REUSEADDR before bind() in every run, or wait."},
		{"a listener", func(r *run) int {
			r.listener("app", 7, 11, any4, false, false)
			n := r.again(9, false, false)
			r.table(n, open(row("LISTEN", any4, "", 11)))
			return n
		}, "EADDRINUSE (98): held by LISTEN 0.0.0.0:12500; app (process 7) has it open; neither socket had SO_REUSEPORT. " +
			"Fix: stop app (process 7), or bind another port; SO_REUSEADDR does not help while it listens."},
		{"a listener, both with SO_REUSEADDR", func(r *run) int {
			r.listener("app", 7, 11, any4, true, false)
			n := r.again(9, true, false)
			r.table(n, open(row("LISTEN", any4, "", 11)))
			return n
		}, "EADDRINUSE (98): held by LISTEN 0.0.0.0:12500; app (process 7) has it open; both sockets had SO_REUSEADDR, which does not help while one listens; " +
			"neither socket had SO_REUSEPORT. Fix: stop app (process 7), or bind another port; SO_REUSEADDR does not help while it listens."},
		{"a listener of another user, both with SO_REUSEPORT", func(r *run) int {
			r.listener("app", 7, 11, any4, false, true)
			r.uid = 1000
			n := r.again(9, false, true)
			r.table(n, open(row("LISTEN", any4, "", 11)))
			return n
		}, "EADDRINUSE (98): held by LISTEN 0.0.0.0:12500; app (process 7) has it open; both sockets had SO_REUSEPORT, but not of one user (uid 0 and 1000). " +
			"Fix: stop app (process 7), or bind another port; SO_REUSEADDR does not help while it listens."},
		{"a listener of a program that is not recorded", func(r *run) int {
			n := r.again(9, true, false)
			r.table(n, open(row("LISTEN", any4, "", 11)))
			return n
		}, "EADDRINUSE (98): held by LISTEN 0.0.0.0:12500; which process has it open is unknown; the new socket had no SO_REUSEPORT; " +
			"whether the old one had is unknown. Fix: stop the process that listens, or bind another port; SO_REUSEADDR does not help while it listens."},
		{"a surviving child", func(r *run) int {
			r.listener("app", 7, 11, any4, false, false)
			r.connect("visitor", 8, 3, 21, client, server)
			r.accept("app", 7, 4, 12, server, client, false, false)
			r.process("app", 10, journal.Process{Phase: journal.PhaseStart, Parent: 7})
			r.close("app", 7, 4) // before its child says anything
			r.call("app", 10, journal.Syscall{Name: "write", FD: 4, Result: 10}, 12)
			r.exit("app", 7, "SIGKILL")
			n := r.again(9, false, false)
			r.table(n, open(row("ESTABLISHED", server, client, 12)))
			return n
		}, "EADDRINUSE (98): held by ESTABLISHED 192.168.44.144:12500 -> 192.168.44.145:40112; app (process 10) has it open, inherited from process 7; " +
			"neither socket had SO_REUSEADDR. Fix: set SO_REUSEADDR before bind() in every run, or wait until the peer closes first; stopping app (process 10) closes from this side, and then FIN_WAIT2 and TIME_WAIT hold the port."},
		{"an orphan in FIN_WAIT2", func(r *run) int {
			r.listener("app", 7, 11, any4, false, false)
			r.connect("visitor", 8, 3, 21, client, server)
			r.accept("app", 7, 4, 12, server, client, false, false)
			r.exit("app", 7, "SIGKILL")
			n := r.again(9, false, false)
			r.table(n, row("FIN_WAIT2", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by FIN_WAIT2 192.168.44.144:12500 -> 192.168.44.145:40112; this side closed first; neither socket had SO_REUSEADDR. " +
			"Fix: set SO_REUSEADDR before bind() in every run, or wait until the peer closes, and then a minute of TIME_WAIT, or until net.ipv4.tcp_fin_timeout is over."},
		{"an orphan in FIN_WAIT1", func(r *run) int {
			n := r.again(9, true, false)
			r.table(n, row("FIN_WAIT1", server, client, 12))
			return n
		}, "EADDRINUSE (98): held by FIN_WAIT1 192.168.44.144:12500 -> 192.168.44.145:40112; this side closed first; the new socket had SO_REUSEADDR; " +
			"whether the old one had is unknown. Fix: set SO_REUSEADDR before bind() in every run, or wait until the peer answers and closes, and then a minute of TIME_WAIT, or until the kernel gives up."},
		{"five at once", func(r *run) int {
			r.visit(false)
			n := r.again(9, false, false)
			rows := []journal.Socket{row("TIME_WAIT", server, client, 12)}
			for _, port := range []string{"1", "2", "3"} {
				rows = append(rows, row("TIME_WAIT", server, "192.168.44.145:5000"+port, 0))
			}
			r.table(n, append(rows, open(row("CLOSE_WAIT", server, "192.168.44.145:50004", 0)))...)
			return n
		}, "EADDRINUSE (98): held by 4 TIME_WAIT (up to 59.9 s left) and 1 CLOSE_WAIT; which process has that of 192.168.44.145:50004 open is unknown; for 1 of 5 connections, this side closed first; " +
			"for 3 of 5 connections, which side closed first is unknown; for 1 of 5 connections, the peer closed first; for 1 of 5 holders, neither socket had SO_REUSEADDR; " +
			"for 4 of 5 holders, the new socket had no SO_REUSEADDR; whether the old one had is unknown. " +
			"Fix: set SO_REUSEADDR before bind() in every run, or stop the process that has it open."},
		{"gone before the dump", func(r *run) int {
			n := r.again(9, false, false)
			r.table(n)
			return n
		}, "EADDRINUSE (98): in the table read 1.000 ms later no socket conflicts: what held the port was gone by then. " +
			"Fix: bind again; set SO_REUSEADDR before bind() in every run."},
		{"a bound socket that the kernel cannot list", func(r *run) int {
			r.unlist = []string{"BOUND"}
			r.start("app", 7)
			r.socket("app", 7, 3, 11, false, false)
			r.bind("app", 7, 3, 11, any4, "")
			n := r.again(9, false, false)
			r.table(n)
			return n
		}, "EADDRINUSE (98): in the table read 1.000 ms later no listed socket conflicts; this kernel cannot list sockets that are bound and do nothing more; " +
			"app (process 7) bound 0.0.0.0:12500 and has not closed it. Fix: stop app (process 7), or set SO_REUSEADDR before bind() in both."},
		{"perhaps one that the kernel cannot list", func(r *run) int {
			r.unlist = []string{"BOUND"}
			n := r.again(9, false, false)
			r.table(n)
			return n
		}, "EADDRINUSE (98): in the table read 1.000 ms later no listed socket conflicts; this kernel cannot list sockets that are bound and do nothing more; " +
			"whether one of them holds the port or the holder was gone by then is unknown. Fix: set SO_REUSEADDR before bind() in every run."},
		{"the table could not be read", func(r *run) int {
			n := r.again(9, false, false)
			r.add(journal.Event{Host: "server", Sockets: &journal.Sockets{After: n, Error: "netlink: no buffer space"}})
			return n
		}, "EADDRINUSE (98): what holds the port is unknown: the socket table could not be read: netlink: no buffer space. " +
			"Fix: set SO_REUSEADDR before bind() in every run, if it is not."},
		{"listen against a listener", func(r *run) int {
			r.listener("app", 7, 11, any4, true, false)
			r.start("app", 9)
			r.socket("app", 9, 3, 9, true, false)
			r.bind("app", 9, 3, 9, any4, "")
			n := r.call("app", 9, journal.Syscall{Name: "listen", FD: 3, Result: -1, Errno: "EADDRINUSE", Number: 98}, 9)
			r.table(n, open(row("LISTEN", any4, "", 11)), open(row("BOUND", any4, "", 9)))
			return n
		}, "EADDRINUSE (98): held by LISTEN 0.0.0.0:12500; app (process 7) has it open; both sockets had SO_REUSEADDR, which does not help while one listens; " +
			"neither socket had SO_REUSEPORT. Fix: stop app (process 7), or bind another port; SO_REUSEADDR does not help while it listens."},
		{"no port left", func(r *run) int {
			r.start("app", 9)
			r.socket("app", 9, 3, 9, false, false)
			n := r.bind("app", 9, 3, 9, "0.0.0.0:0", "EADDRINUSE")
			r.table(n, open(row("LISTEN", any4, "", 11)))
			return n
		}, "EADDRINUSE (98): no port was left for the kernel to choose from net.ipv4.ip_local_port_range = 32768 to 60999. " +
			"Fix: widen net.ipv4.ip_local_port_range, or bind a definite port."},
		{"not an address of the host", func(r *run) int {
			r.start("app", 9)
			r.socket("app", 9, 3, 9, false, false)
			n := r.bind("app", 9, 3, 9, "192.168.44.200:12500", "EADDRNOTAVAIL")
			r.table(n)
			return n
		}, "EADDRNOTAVAIL (99): 192.168.44.200 is not an address of host server, which has 192.168.44.144, 2001:db8:44::144. " +
			"Fix: bind one of the host's addresses, or 0.0.0.0 or :: for all of them."},
		{"an IPv6 address of a link that is down", func(r *run) int {
			r.add(journal.Event{Host: "server", Change: &journal.Change{What: "link", State: "down"}})
			r.start("app", 9)
			r.socket("app", 9, 3, 9, false, false)
			n := r.bind("app", 9, 3, 9, "[2001:db8:44::144]:12500", "EADDRNOTAVAIL")
			r.table(n)
			return n
		}, "EADDRNOTAVAIL (99): the link of host server is down, and the kernel takes away its IPv6 addresses with it. " +
			"Fix: set the link up and give the host its address again."},
		{"a privileged port", func(r *run) int {
			r.start("app", 9)
			r.socket("app", 9, 3, 9, false, false)
			n := r.bind("app", 9, 3, 9, "0.0.0.0:80", "EACCES")
			r.table(n)
			return n
		}, "EACCES (13): port 80 is below net.ipv4.ip_unprivileged_port_start = 1024, so it needs CAP_NET_BIND_SERVICE. " +
			"Fix: bind a port from 1024 on, give the program CAP_NET_BIND_SERVICE, or lower net.ipv4.ip_unprivileged_port_start."},
		{"bound twice", func(r *run) int {
			r.start("app", 9)
			r.socket("app", 9, 3, 9, false, false)
			r.bind("app", 9, 3, 9, any4, "")
			n := r.bind("app", 9, 3, 9, "0.0.0.0:12501", "EINVAL")
			r.table(n)
			return n
		}, "EINVAL (22): this socket is bound already, to 0.0.0.0:12500. Fix: bind each socket once; for another address make another socket."},
		{"anything else", func(r *run) int {
			r.start("app", 9)
			r.socket("app", 9, 3, 9, false, false)
			n := r.bind("app", 9, 3, 9, any4, "EIO")
			r.table(n)
			return n
		}, "EIO (5): why is unknown."},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRun()
			n := test.play(r)
			x, ok := r.h.Refusal(n)
			if !ok {
				t.Fatalf("no explanation of event %d", n)
			}
			if diff := cmp.Diff(test.want, x.String()); diff != "" {
				t.Errorf("explanation (-want +got):\n%s", diff)
			}
			for _, c := range x.Clauses {
				if len(c.Events) == 0 && !strings.Contains(c.Text, "unknown") && !strings.Contains(c.Text, "unaccepted") {
					t.Errorf("rests on no event and does not say unknown: %q", c.Text)
				}
				for _, e := range c.Events {
					if e < 1 || e > r.n {
						t.Errorf("%q rests on event %d, which there is not", c.Text, e)
					}
				}
			}
		})
	}
}

// TestKernelEvents looks at what a clause rests on that the kernel's memory tells:
// the table, and no call of the holder's program.
func TestKernelEvents(t *testing.T) {
	r := newRun()
	r.visit(true)
	n := r.again(9, true, false)
	w := row("TIME_WAIT", server, client, 12)
	w.ReuseAddr, w.ReusePort, w.Bucket = ptr(false), ptr(false), &journal.Bucket{}
	at := r.table(n, w)
	x, ok := r.h.Refusal(n)
	if !ok || len(x.Holders) != 1 || !x.Holders[0].Kernel || isTrue(x.Holders[0].ReuseAddr) {
		t.Fatalf("%v %+v", ok, x.Holders)
	}
	last := x.Clauses[len(x.Clauses)-1]
	if diff := cmp.Diff([]int{n, at}, last.Events); diff != "" || !strings.Contains(last.Text, "skc_reuse 0") {
		t.Errorf("%q rests on %v: %s", last.Text, last.Events, diff)
	}
}

func TestHolders(t *testing.T) {
	none := func(r *run) {}
	tests := []struct {
		name       string
		before     func(r *run)
		a, p       bool
		rows       []journal.Socket
		wantStates string
	}{
		{"other ports and other addresses", none, false, false, []journal.Socket{
			open(row("LISTEN", "0.0.0.0:12501", "", 31)), row("TIME_WAIT", server, client, 32)}, "TIME_WAIT"},
		{"the refused socket itself", none, false, false, []journal.Socket{open(row("BOUND", any4, "", 9))}, ""},
		{"a handshake under way owns no port", none, false, false, []journal.Socket{row("SYN_RECV", server, client, 33)}, ""},
		{"a simultaneous open does", none, false, false, []journal.Socket{open(row("SYN_RECV", server, client, 33))}, "SYN_RECV"},
		{"excused by SO_REUSEADDR on both", func(r *run) { r.visit(true) }, true, false,
			[]journal.Socket{row("TIME_WAIT", server, client, 12)}, ""},
		{"not excused by what is unknown", none, true, true, []journal.Socket{row("TIME_WAIT", server, client, 12)}, "TIME_WAIT"},
		{"a connection not yet accepted has its listener's options",
			func(r *run) { r.listener("app", 7, 11, any4, true, false) }, true, false,
			[]journal.Socket{open(row("LISTEN", any4, "", 11)), row("ESTABLISHED", server, client, 34)}, "LISTEN"},
		{"unless the listener's have changed since",
			func(r *run) {
				r.listener("app", 7, 11, any4, false, false)
				r.facts[11].ReuseAddr = ptr(true)
				r.call("app", 7, journal.Syscall{Name: "setsockopt", FD: 3}, 11)
			}, true, false,
			[]journal.Socket{open(row("LISTEN", any4, "", 11)), row("ESTABLISHED", server, client, 34)}, "LISTEN ESTABLISHED"},
		{"excused by SO_REUSEPORT on both", func(r *run) { r.listener("app", 7, 11, any4, false, true) }, false, true,
			[]journal.Socket{open(row("LISTEN", any4, "", 11))}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRun()
			test.before(r)
			refused := r.again(9, test.a, test.p)
			var states []string
			facts := *r.facts[9]
			for _, h := range r.h.Holders(journal.Event{N: refused, Lab: "test", Host: "server", Program: "app", PID: 9,
				Syscall: &journal.Syscall{Name: "bind", FD: 3, Errno: "EADDRINUSE", Args: journal.Args{Address: addr(any4)}, Socket: &facts}}, test.rows) {
				states = append(states, h.Socket.State)
			}
			if diff := cmp.Diff(test.wantStates, strings.Join(states, " ")); diff != "" {
				t.Errorf("holders (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLater shows that an explanation is what was known when the table was
// read, however the run goes on.
func TestLater(t *testing.T) {
	r := newRun()
	r.listener("app", 7, 11, any4, false, false)
	n := r.again(9, false, false)
	if _, ok := r.h.Refusal(n); ok {
		t.Error("an explanation before its table")
	}
	r.table(n, open(row("LISTEN", any4, "", 11)))
	before, _ := r.h.Refusal(n)
	r.exit("app", 7, "SIGKILL")
	r.table(n)
	after, _ := r.h.Refusal(n)
	if before.String() != after.String() {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
}

// TestNonsense feeds events that no runner writes: nothing may panic.
func TestNonsense(t *testing.T) {
	var h History
	h.Holders(journal.Event{}, nil)
	for _, e := range []journal.Event{
		{}, {Kind: journal.KindSyscall}, {Syscall: &journal.Syscall{Name: "close", FD: 77}},
		{Syscall: &journal.Syscall{Name: "bind", FD: -1, Errno: "EADDRINUSE"}},
		{N: 4, Syscall: &journal.Syscall{Name: "listen", FD: -1, Errno: "EADDRNOTAVAIL"}}, {Sockets: &journal.Sockets{After: 4}},
		{N: 6, Syscall: &journal.Syscall{Name: "bind", Errno: "EACCES", Socket: &journal.SocketFacts{}}}, {Sockets: &journal.Sockets{After: 6}},
		{N: 8, Syscall: &journal.Syscall{Name: "bind", Errno: "EADDRINUSE", Args: journal.Args{Address: addr(any4)}}},
		{Sockets: &journal.Sockets{After: 8, Rows: []journal.Socket{{State: "TIME_WAIT", Local: addr(any4)}, {}}}},
		{N: 10, Syscall: &journal.Syscall{Name: "accept", FD: 3, Socket: &journal.SocketFacts{Cookie: 1}}},
		{N: 11, Syscall: &journal.Syscall{Name: "socket", FD: 3, Socket: &journal.SocketFacts{Cookie: 2}}},
		{Process: &journal.Process{Phase: journal.PhaseExit}},
	} {
		h.Add(e)
	}
	for n := range 12 {
		if x, ok := h.Refusal(n); ok && x.String() == "" {
			t.Error("an empty explanation")
		}
	}
}
