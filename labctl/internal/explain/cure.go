package explain

import (
	"fmt"

	"restartlab/labctl/internal/journal"
)

// options says which options the sockets had that decide, by the rule, whether
// they may share the port.
func (x *Explanation) options(call journal.Event, mine socket) {
	var texts []string
	rest := map[string][]int{} // text -> events
	count := map[string]int{}
	for i := range x.Holders {
		h := &x.Holders[i]
		for _, text := range relations(mine, h) {
			if count[text] == 0 {
				texts = append(texts, text)
			}
			count[text]++
			rest[text] = append(rest[text], h.Facts...)
		}
	}
	for _, text := range texts {
		n := append(rest[text], call.N)
		if count[text] < len(x.Holders) && len(x.Holders) > 1 {
			text = fmt.Sprintf("for %d of %d holders, %s", count[text], len(x.Holders), text)
		}
		x.say(text, n...)
	}
}

// relations compares the deciding options of the new socket and a holder.
func relations(mine socket, h *Holder) []string {
	var texts []string
	old := h.socket()
	listens := old.state == "LISTEN"
	switch {
	case !listens:
		texts = append(texts, relation("SO_REUSEADDR", mine.reuseAddr, old.reuseAddr))
	case isTrue(mine.reuseAddr) && isTrue(old.reuseAddr):
		texts = append(texts, "both sockets had SO_REUSEADDR, which does not help while one listens")
	}
	both := isTrue(mine.reusePort) && isTrue(old.reusePort)
	switch {
	case both && mine.uid != nil:
		texts = append(texts, fmt.Sprintf("both sockets had SO_REUSEPORT, but not of one user (uid %d and %d)", *old.uid, *mine.uid))
	case both:
		texts = append(texts, "both sockets had SO_REUSEPORT, but whether of one user is unknown")
	case listens || isTrue(mine.reusePort) || isTrue(old.reusePort):
		texts = append(texts, relation("SO_REUSEPORT", mine.reusePort, old.reusePort))
	}
	return texts
}

func relation(name string, new, old *bool) string {
	switch {
	case new == nil && old == nil:
		return "whether the sockets had " + name + " is unknown"
	case new == nil:
		return fmt.Sprintf("the old socket had %s%s; whether the new one had is unknown", negate(*old), name)
	case old == nil:
		return fmt.Sprintf("the new socket had %s%s; whether the old one had is unknown", negate(*new), name)
	case *new && *old:
		return "both sockets had " + name
	case *new:
		return "only the new socket had " + name
	case *old:
		return "only the old socket had " + name
	}
	return "neither socket had " + name
}

func negate(has bool) string {
	if has {
		return ""
	}
	return "no "
}

// cure says what to do about the holders. What keeps the port hardest comes
// first: a listener, then an open socket, then one that the kernel will let go.
func (x *Explanation) cure(mine socket) string {
	for _, h := range x.Holders {
		if h.Socket.State == "LISTEN" {
			return "stop " + listener(h) + ", or bind another port; SO_REUSEADDR does not help while it listens"
		}
	}
	until := x.until()
	lacks, unknown := false, false
	for _, h := range x.Holders {
		lacks = lacks || isFalse(h.ReuseAddr)
		unknown = unknown || h.ReuseAddr == nil
	}
	switch {
	case isTrue(mine.reuseAddr) && lacks:
		return "set SO_REUSEADDR before bind() in the first run too (set only in this one, it helps from the next restart on), or " + until
	case isFalse(mine.reuseAddr) && !lacks && !unknown:
		return "set SO_REUSEADDR before bind() in this run too, or " + until
	}
	return "set SO_REUSEADDR before bind() in every run, or " + until
}

func listener(h Holder) string {
	if h.PID == 0 && h.Program == "" {
		return "the process that listens"
	}
	return who(h.Program, h.PID)
}

// until is the way that needs no option: what has to end before the port is
// free.
func (x *Explanation) until() string {
	orphan := ""
	for _, h := range x.Holders {
		switch s := h.Socket; {
		case h.PID != 0:
			return "stop " + who(h.Program, h.PID)
		case s.Inode != 0:
			return "stop the process that has it open"
		case s.State == "FIN_WAIT2":
			orphan = "wait until the peer closes or net.ipv4.tcp_fin_timeout is over"
		case s.State == "FIN_WAIT1" || s.State == "LAST_ACK" || s.State == "CLOSING":
			orphan = "wait until the peer answers or the kernel gives up"
		case s.State != "TIME_WAIT" && orphan == "":
			orphan = "wait until it is closed"
		}
	}
	if orphan != "" {
		return orphan
	}
	return "wait"
}
