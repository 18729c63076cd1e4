package view

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"restartlab/labctl/internal/explain"
)

// Why prints the answer about one port: would a bind fail, which sockets are
// there, who has them, and what to do.
func Why(w io.Writer, o Options, a *explain.Answer) error {
	p := newPage(o)
	lines := p.answer(a)
	if len(a.Occupants) > 0 {
		lines = append(lines, "")
		for i := range a.Occupants {
			lines = append(lines, p.occupant(&a.Occupants[i])...)
		}
	}
	if len(a.Elsewhere) > 0 {
		lines = append(lines, "")
		lines = append(lines, p.wrap("", "", "In other network namespaces, where they keep nobody here from the port:")...)
		for i := range a.Elsewhere {
			lines = append(lines, p.occupant(&a.Elsewhere[i])...)
		}
	}
	if len(a.Advice) > 0 {
		lines = append(lines, "", p.bold("What to do"))
		for _, text := range a.Advice {
			lines = append(lines, p.wrap("  - ", "    ", clean(text))...)
		}
	}
	if len(a.Notes) > 0 {
		lines = append(lines, "")
		for _, text := range a.Notes {
			lines = append(lines, each(p.wrap("note: ", "      ", clean(text)), p.dim)...)
		}
	}
	return write(w, lines)
}

// answer is the verdict and the table of binds.
func (p page) answer(a *explain.Answer) []string {
	what := fmt.Sprintf("%s port %d", a.Protocol, a.Port)
	var lines []string
	switch result := a.Result(); result {
	case "ok":
		lines = each(p.wrap(p.sym.pass+" ", "  ", what+" is free: bind() would succeed"), p.good)
	case "EADDRINUSE":
		lines = each(p.wrap(p.sym.fail+" ", "  ", what+" is taken: bind() would fail with EADDRINUSE (98, Address already in use)"), p.bad)
	case "EACCES":
		lines = each(p.wrap(p.sym.fail+" ", "  ", what+" is not yours to take: bind() would fail with EACCES (13, Permission denied)"), p.bad)
	case "EADDRNOTAVAIL":
		lines = each(p.wrap(p.sym.fail+" ", "  ", what+": bind() would fail with EADDRNOTAVAIL (99, Cannot assign requested address)"), p.bad)
	default:
		lines = each(p.wrap(p.sym.fail+" ", "  ", what+" may be taken: whether bind() would fail cannot be seen here"), p.bad)
	}
	table := [][]string{{"bind to", "no option", "SO_REUSEADDR", "SO_REUSEPORT"}}
	for _, b := range a.Binds {
		if b.Option == "" {
			table = append(table, []string{b.Address.String()})
		}
		last := &table[len(table)-1]
		*last = append(*last, b.Result)
	}
	return append(append(lines, ""), p.grid("  ", table)...)
}

// grid sets a table, its head dim. Columns are as wide as their widest cell.
func (p page) grid(margin string, table [][]string) []string {
	var widths []int
	for _, row := range table {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], width(cell))
		}
	}
	var lines []string
	for n, row := range table {
		line := margin
		for i, cell := range row {
			line += pad(cell, widths[i]) + "  "
		}
		line = strings.TrimRight(line, " ")
		if n == 0 {
			line = p.dim(line)
		}
		lines = append(lines, line)
	}
	return lines
}

// occupant is a socket and who has it.
func (p page) occupant(o *explain.Occupant) []string {
	s := o.Socket
	text := s.Family + " " + s.State + " " + s.Local.String()
	if s.Remote.IsValid() {
		text += " -> " + s.Remote.String()
	}
	if s.TimeLeft != nil && s.Timer != "keepalive" {
		left := fmt.Sprintf("%.1f s", float64(*s.TimeLeft)/1000)
		if s.Timer == "timewait" {
			text += ", " + left + " left"
		} else {
			text += fmt.Sprintf(", %s timer in %s", s.Timer, left)
		}
	}
	if set := options(o.Options); set != "" {
		text += ", " + set
	}
	if o.Namespace != "" {
		text += ", in " + o.Namespace
	}
	lines := p.wrap("  ", "      ", clean(text))
	for _, w := range o.Owners {
		lines = append(lines, p.wrap("      ", "        ", owner(w))...)
	}
	if len(o.Owners) == 0 {
		lines = append(lines, p.wrap("      ", "        ", ownerless(o))...)
	}
	return lines
}

func owner(w explain.Owner) string {
	text := fmt.Sprintf("pid %d, %s, user %s", w.PID, w.Command, w.User)
	if w.Container != "" {
		text += fmt.Sprintf(", %s container %.12s", w.Engine, w.Container)
	}
	if w.Unit != "" {
		text += ", " + w.Unit
	}
	const most = 120
	if line := strings.Join(w.Argv, " "); line != "" && line != w.Command {
		if len(line) > most {
			line = fit(clean(line), most, "...")
		}
		text += ": " + line
	}
	return clean(text)
}

// ownerless says why nobody is named.
func ownerless(o *explain.Occupant) string {
	s := o.Socket
	switch {
	case s.Inode != 0:
		return fmt.Sprintf("a process of user %s (uid %d) that is hidden from us", clean(o.User), s.UID)
	case s.State == "TIME_WAIT":
		return "no process: the kernel keeps it after this side closed first"
	case s.State == "ESTABLISHED" || s.State == "CLOSE_WAIT":
		return "no process yet: it waits to be accepted"
	case s.State == "SYN_RECV":
		return "no process yet: a handshake under way, which holds no port"
	}
	return "no process: closed, and the kernel waits for the other side"
}

// options names those that are known.
func options(k explain.Known) string {
	var set []string
	for _, o := range []struct {
		name  string
		value *bool
	}{{"SO_REUSEADDR", k.ReuseAddr}, {"SO_REUSEPORT", k.ReusePort}} {
		switch {
		case o.value == nil:
		case *o.value:
			set = append(set, "has "+o.name)
		default:
			set = append(set, "no "+o.name)
		}
	}
	if k.V6Only != nil && *k.V6Only {
		set = append(set, "IPv6 only")
	}
	return strings.Join(set, ", ")
}

// WhyAll prints one line for each port, and who is there.
func WhyAll(w io.Writer, o Options, answers []*explain.Answer) error {
	p := newPage(o)
	if len(answers) == 0 {
		return write(w, []string{"no port is taken here"})
	}
	table := [][]string{{"port", "sockets", "bind()", "with SO_REUSEADDR", "who"}}
	for _, a := range answers {
		states, who := map[string]int{}, []string{}
		for i := range a.Occupants {
			occ := &a.Occupants[i]
			states[occ.Socket.State]++
			for _, w := range occ.Owners {
				if name := fmt.Sprintf("%s (%d)", clean(w.Command), w.PID); !slices.Contains(who, name) {
					who = append(who, name)
				}
			}
			if name := "user " + clean(occ.User); len(occ.Owners) == 0 && occ.Socket.Inode != 0 && !slices.Contains(who, name) {
				who = append(who, name)
			}
		}
		if len(who) == 0 {
			who = []string{"no process"}
		}
		const most = 2
		if more := len(who) - most; more > 0 {
			who = append(who[:most], fmt.Sprintf("%d more", more))
		}
		table = append(table, []string{fmt.Sprintf("%d/%s", a.Port, a.Protocol), tally(states, a.Port),
			a.Result(), a.Worst("SO_REUSEADDR"), strings.Join(who, ", ")})
	}
	lines := p.grid("", table)
	if p.Width > 0 {
		for i, l := range lines {
			lines[i] = fit(l, p.Width, p.sym.more)
		}
	}
	return write(w, lines)
}

// waitingFor says in a line what is on a port that is waited for.
func waitingFor(a *explain.Answer) string {
	var left int64
	for _, occ := range a.Occupants {
		if occ.Socket.State == "TIME_WAIT" && occ.Socket.TimeLeft != nil {
			left = max(left, *occ.Socket.TimeLeft)
		}
	}
	states := map[string]int{}
	for _, occ := range a.Occupants {
		states[occ.Socket.State]++
	}
	text := fmt.Sprintf("%s port %d: %s", a.Protocol, a.Port, tally(states, a.Port))
	if left > 0 {
		text += fmt.Sprintf(", %.1f s left of TIME_WAIT", float64(left)/1000)
	}
	return text
}

// Waiting shows on one live line what a port is waited for; elsewhere than on a
// terminal, a line whenever it changes in more than its times.
type Waiting struct {
	o      Options
	screen *screen
	said   string
}

// NewWaiting shows on w.
func NewWaiting(w io.Writer, o Options) *Waiting {
	return &Waiting{o: o, screen: &screen{w: w, page: newPage(o)}}
}

// Add shows the port as it is now.
func (w *Waiting) Add(a *explain.Answer) {
	text := waitingFor(a)
	if w.o.Animate {
		w.screen.live(text)
		return
	}
	said, _, _ := strings.Cut(text, ", ")
	if said != w.said {
		w.said = said
		w.screen.print(text)
	}
}

// Close takes the live line away and returns the writer's first error.
func (w *Waiting) Close() error {
	w.screen.live("")
	return w.screen.err
}
