package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"restartlab/labctl/internal/journal"
)

// named is how many holders are named one by one; more are counted.
const named = 3

// explain puts into words why call was refused, given the table read after it.
func (h *History) explain(call, table journal.Event) Explanation {
	l := h.lab(call)
	c := call.Syscall
	mine, port := l.newSocket(call, table.Sockets.Rows)
	x := Explanation{N: call.N, Call: c.Name, Errno: c.Errno, Number: c.Number,
		Address: netip.AddrPortFrom(mine.addr, port), Host: call.Host, Program: call.Program}
	switch c.Errno {
	case "EADDRINUSE":
		x.Holders = h.Holders(call, table.Sockets.Rows)
		l.inUse(&x, call, table, mine)
	case "EADDRNOTAVAIL":
		l.notAvailable(&x, call)
	case "EACCES":
		l.denied(&x, call)
	case "EINVAL":
		l.invalid(&x, call)
	default:
		x.say("why is unknown")
	}
	return x
}

func (x *Explanation) say(text string, n ...int) {
	x.Clauses = append(x.Clauses, Clause{text, events(n...)})
}

func (l *lab) inUse(x *Explanation, call, table journal.Event, mine socket) {
	switch {
	case table.Sockets.Error != "":
		x.say("what holds the port is unknown: the socket table could not be read: "+table.Sockets.Error, table.N)
		x.Fix = "set SO_REUSEADDR before bind() in every run, if it is not"
		return
	case x.Address.Port() == 0:
		x.portRange(l.host(call.Host), call)
		return
	case len(x.Holders) == 0:
		l.gone(x, call, table, mine)
		return
	}
	x.say("held by "+x.held(), call.N, table.N)
	x.owner()
	x.closing(table.N)
	x.options(call, table, mine)
	x.Fix = x.cure(mine)
}

// portRange explains a bind that left the choice of the port to the kernel.
func (x *Explanation) portRange(h *host, call journal.Event) {
	if s, ok := h.sysctls["net.ipv4.ip_local_port_range"]; ok {
		x.say("no port was left for the kernel to choose from net.ipv4.ip_local_port_range = "+
			strings.Join(strings.Fields(s.value), " to "), call.N, s.n)
	} else {
		x.say("no port was left for the kernel to choose from", call.N)
	}
	x.Fix = "widen net.ipv4.ip_local_port_range, or bind a definite port"
}

// gone explains a refusal after which no socket of the table conflicts.
func (l *lab) gone(x *Explanation, call, table journal.Event, mine socket) {
	after := journal.Duration(max(0, table.T-call.T))
	if !slices.Contains(table.Sockets.Unlisted, "BOUND") {
		x.say(fmt.Sprintf("in the table read %s later no socket conflicts: what held the port was gone by then", after), call.N, table.N)
		x.Fix = "bind again; set SO_REUSEADDR before bind() in every run"
		return
	}
	x.say(fmt.Sprintf("in the table read %s later no listed socket conflicts", after), call.N, table.N)
	x.say("this kernel cannot list sockets that are bound and do nothing more", table.N)
	if s := l.silentlyBound(call, table.Sockets.Rows, mine, x.Address.Port()); s != nil {
		x.say(fmt.Sprintf("%s bound %s and has not closed it", who(s.program, s.opened()), s.local), s.boundN)
		x.Fix = "stop " + who(s.program, s.opened()) + ", or set SO_REUSEADDR before bind() in both"
		return
	}
	x.say("whether one of them holds the port or the holder was gone by then is unknown")
	x.Fix = "set SO_REUSEADDR before bind() in every run"
}

// silentlyBound finds by events alone a socket that was bound, is still open
// and conflicts, in the place of a kernel that cannot list it.
func (l *lab) silentlyBound(call journal.Event, rows []journal.Socket, mine socket, port uint16) *life {
	var found *life
	refused := l.find(call)
	for _, s := range l.sockets {
		listed := slices.ContainsFunc(rows, func(r journal.Socket) bool { return r.Cookie == s.key.cookie })
		if s == refused || listed || s.key.host != call.Host || s.boundN == 0 || s.local.Port() != port || len(s.holders) == 0 {
			continue
		}
		old := socket{addr: s.local.Addr(), v6only: s.v6only.value, reuseAddr: s.reuseAddr.value, reusePort: s.reusePort.value, state: "BOUND"}
		if p := l.procs[s.pid]; p != nil {
			old.uid = p.uid
		}
		if conflicts(mine, old) && (found == nil || s.boundN < found.boundN) {
			found = s
		}
	}
	return found
}

// held names the holders, LISTEN first, or counts them if they are many.
func (x *Explanation) held() string {
	if len(x.Holders) <= named {
		var each []string
		for _, h := range x.Holders {
			each = append(each, h.String())
		}
		return list(each)
	}
	var states []string
	count, longest := map[string]int{}, map[string]int64{}
	for _, h := range x.Holders {
		state := h.Socket.State
		if count[state] == 0 {
			states = append(states, state)
		}
		count[state]++
		if left := h.Socket.TimeLeft; left != nil && state == "TIME_WAIT" {
			longest[state] = max(longest[state], *left)
		}
	}
	var each []string
	for _, state := range states {
		text := fmt.Sprintf("%d %s", count[state], state)
		if left, ok := longest[state]; ok {
			text += fmt.Sprintf(" (up to %.1f s left)", float64(left)/1000)
		}
		each = append(each, text)
	}
	return list(each)
}

// String is the holder's state, addresses and, in TIME_WAIT, the time left:
// "TIME_WAIT 192.168.44.144:12500 -> 192.168.44.145:40112, 59.9 s left".
func (h Holder) String() string {
	s := h.Socket
	text := s.State + " " + s.Local.String()
	if s.Remote.IsValid() && s.Remote.Port() != 0 {
		text += " -> " + s.Remote.String()
	}
	// Only here does the timer's end free the port.
	if s.TimeLeft != nil && s.Timer == "timewait" {
		text += fmt.Sprintf(", %.1f s left", float64(*s.TimeLeft)/1000)
	}
	return text
}

// owner says which process has the holders open.
func (x *Explanation) owner() {
	said := map[string]bool{}
	for _, h := range x.Holders {
		var text string
		it := "it"
		if s := h.Socket; len(x.Holders) > 1 {
			it = "that of " + s.Remote.String()
			if !s.Remote.IsValid() || s.Remote.Port() == 0 {
				it = s.State + " " + s.Local.String()
			}
		}
		switch s := h.Socket; {
		case h.PID != 0 && h.Parent != 0:
			text = fmt.Sprintf("%s has %s open, inherited from process %d", who(h.Program, h.PID), it, h.Parent)
		case h.PID != 0:
			text = who(h.Program, h.PID) + " has " + it + " open"
		case s.Inode == 0 && h.Program != "" && s.State == "ESTABLISHED":
			text = h.Program + " has not accepted " + it + " yet"
		case s.Inode != 0:
			text = "which process has " + it + " open is unknown"
		}
		if text == "" || said[text] || len(said) == named {
			continue
		}
		said[text] = true
		x.say(text, h.Owner...)
	}
}

// closing says which side closed first, where that is why a holder is there.
func (x *Explanation) closing(table int) {
	var sides []Side
	all, count := 0, map[Side]int{}
	closing := map[Side][]int{}
	for _, h := range x.Holders {
		switch h.Socket.State {
		case "TIME_WAIT", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT", "LAST_ACK":
		default:
			continue
		}
		if !slices.Contains(sides, h.First) {
			sides = append(sides, h.First)
		}
		all++
		count[h.First]++
		n := h.Closing
		if h.First != Unknown && len(n) == 0 {
			n = []int{table} // its state tells
		}
		closing[h.First] = append(closing[h.First], n...)
	}
	for _, side := range sides {
		text := string(side) + " closed first"
		if side == Unknown {
			text = "which side closed first is unknown"
		}
		if len(sides) > 1 {
			text = fmt.Sprintf("for %d of %d connections, %s", count[side], all, text)
		}
		x.say(text, closing[side]...)
	}
}

// who names a process: "app (process 7)".
func who(program string, pid int) string {
	switch {
	case pid == 0 && program == "":
		return "the process"
	case pid == 0:
		return program
	case program == "":
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s (process %d)", program, pid)
}

// list joins texts as a sentence does.
func list(each []string) string {
	if len(each) < 3 {
		return strings.Join(each, " and ")
	}
	return strings.Join(each[:len(each)-1], "; ") + "; and " + each[len(each)-1]
}
