package explain

import (
	"fmt"
	"strings"

	"restartlab/labctl/internal/journal"
)

// options says which options the sockets had that decide, by the rule, whether
// they may share the port.
func (x *Explanation) options(call, table journal.Event, mine socket) {
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
			if h.Kernel {
				rest[text] = append(rest[text], table.N)
			}
		}
	}
	for _, key := range texts {
		n, text := append(rest[key], call.N), key
		if count[key] > 1 {
			text = strings.NewReplacer("neither socket had", "none of these sockets had", "both sockets had", "all these sockets had").Replace(text)
		}
		if count[key] < len(x.Holders) {
			text = fmt.Sprintf("for %d of %d holders, %s", count[key], len(x.Holders), text)
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
		texts = append(texts, relation("SO_REUSEADDR", mine.reuseAddr, old.reuseAddr)+h.held("skc_reuse", h.ReuseAddr, func(b *journal.Bucket) int { return b.FastReuse }))
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
		texts = append(texts, relation("SO_REUSEPORT", mine.reusePort, old.reusePort)+h.held("skc_reuseport", h.ReusePort, func(b *journal.Bucket) int { return b.FastReusePort }))
	}
	return texts
}

// held are an option of the holder and the mark of its port's bucket as the kernel's
// memory has them, " (kernel: skc_reuse 0, fastreuse 0)"; nothing if they were not
// read there.
func (h *Holder) held(field string, value *bool, mark func(*journal.Bucket) int) string {
	if !h.Kernel {
		return ""
	}
	bit := 0
	if isTrue(value) {
		bit = 1
	}
	text := fmt.Sprintf(" (kernel: the old socket's %s %d", field, bit)
	if b := h.Socket.Bucket; b != nil {
		text += fmt.Sprintf(", the port's fast%s %d", strings.TrimPrefix(field, "skc_"), mark(b))
	}
	return text + ")"
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
// free. Of several holders the one counts that stays longest.
func (x *Explanation) until() string {
	const minute = "a minute of TIME_WAIT"
	way, rank := "wait", 0
	better := func(r int, text string) {
		if r > rank {
			way, rank = text, r
		}
	}
	for _, h := range x.Holders {
		holder := "the process that has it open"
		if h.PID != 0 {
			holder = who(h.Program, h.PID)
		}
		open := h.PID != 0 || h.Socket.Inode != 0
		switch s := h.Socket.State; {
		case s == "ESTABLISHED" || s == "SYN_RECV":
			// Who closes first gets the TIME_WAIT (RFC 9293, section 3.6).
			text := "wait until the peer closes first"
			if open {
				text += "; stopping " + holder + " closes from this side, and then FIN_WAIT2 and TIME_WAIT hold the port"
			}
			better(5, text)
		case s == "FIN_WAIT2":
			better(4, "wait until the peer closes, and then "+minute+", or until net.ipv4.tcp_fin_timeout is over")
		case s == "FIN_WAIT1":
			better(4, "wait until the peer answers and closes, and then "+minute+", or until the kernel gives up")
		case s == "CLOSING":
			better(3, "wait until the peer answers, and then "+minute)
		case open: // CLOSE_WAIT, BOUND: nothing of it stays
			better(3, "stop "+holder)
		case s == "LAST_ACK":
			better(2, "wait until the peer answers or the kernel gives up")
		case s != "TIME_WAIT":
			better(1, "wait until it is closed")
		}
	}
	return way
}
