package view

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
)

const indent = "    "

func (s *step) label(p page) string { return p.label(s.begin.Title, s.begin.ID) }

func (p page) label(title journal.Text, id string) string {
	if t := p.text(title); t != "" {
		return t
	}
	return clean(id)
}

// stepColumn is how wide the column of the lab's steps is: what stands beside them
// does not move from step to step.
func (p page) stepColumn(l *lab) int {
	names := make([]string, len(l.plan))
	for i, s := range l.plan {
		names[i] = p.label(s.Title, s.ID)
	}
	return p.columnOf(names)
}

// settled is the line of a step that has ended.
func (p page) settled(l *lab, s *step, end *journal.Step) []string {
	paint, sign := p.good, p.sym.pass
	if end.Verdict != journal.Pass {
		paint, sign = p.bad, p.sym.fail
	}
	seen := p.seen(l, s, end)
	if end.Verdict == journal.Incomplete {
		paint, sign = p.dim, p.sym.skip
		seen = strings.TrimSuffix("did not end; "+seen, "; ")
	}
	return p.row(paint(sign)+" ", s.label(p), p.stepColumn(l), seen, p.duration(end.Duration))
}

// seen says in a few words what the step observed.
func (p page) seen(l *lab, s *step, end *journal.Step) string {
	o := end.Observed
	if o == nil {
		return ""
	}
	if end.Verdict == journal.Fail && o.Failure != "" {
		return clean(o.Failure)
	}
	var parts []string
	say := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	at := func(a fmt.Stringer, valid bool) string {
		if !valid {
			return ""
		}
		return " " + a.String()
	}
	local, peer := at(s.local, s.local.IsValid()), at(s.peer, s.peer.IsValid())
	refused := ""
	switch {
	case failed(o.Bind):
		refused = fmt.Sprintf("bind%s: %s", local, clean(o.Bind))
	case failed(o.Listen):
		refused = fmt.Sprintf("listen%s: %s", local, clean(o.Listen))
	case failed(o.Connect):
		refused = fmt.Sprintf("connect%s: %s", peer, clean(o.Connect))
	case failed(o.Result):
		refused = "failed: " + clean(o.Result)
	case o.Failure != "":
		refused = clean(o.Failure)
	}
	switch {
	case refused != "":
		if end.Verdict == journal.Pass && s.want.set {
			refused += ", as expected"
		}
		say("%s", refused)
	case o.Listen == "ok":
		say("listening on%s", local)
	case o.Bind == "ok":
		say("bound to%s", local)
	case o.Connect == "ok":
		say("connected to%s", peer)
	case o.Ready != "":
		say("ready: %s", clean(o.Ready))
	}
	if n := len(s.want.lines); n > 0 && s.begin.Verb == "wait" && end.Verdict == journal.Pass {
		say("printed %q", clean(s.want.lines[n-1]))
	}
	if s.signal != "" && s.signal != o.Signal {
		say("sent %s", clean(s.signal))
	}
	if o.Exit != nil && (len(s.refused) == 0 || s.want.exit) { // it is the refusal's errno once more
		say("exit %d", *o.Exit)
	}
	if o.Signal != "" {
		say("ended by %s", clean(o.Signal))
	}
	if o.States != nil {
		say("%s", tally(o.States, l.port))
	}
	if o.Queued != nil && (*o.Queued > 0 || s.want.queued) {
		say("%d not accepted", *o.Queued)
	}
	for _, c := range s.changes {
		if s.begin.Verb != "hold" { // which drops what it must to hold the state
			say("%s", changed(c))
		}
	}
	if s.want.took && s.want.since != "" && o.Took > 0 {
		say("%s since `%s`", p.duration(o.Took), clean(s.want.since))
	}
	return strings.Join(parts, ", ")
}

func failed(result string) bool { return result != "" && result != "ok" }

// tally puts counts in words: "1 LISTEN, 2 TIME_WAIT". They are of sockets whose
// local port is the lab's.
func tally(n map[string]int, port uint16) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(n)) {
		if n[k] != 0 {
			parts = append(parts, strconv.Itoa(n[k])+" "+clean(k))
		}
	}
	if len(parts) == 0 {
		return "none on local port " + strconv.Itoa(int(port))
	}
	return strings.Join(parts, ", ")
}

func changed(c *journal.Change) string {
	if c.What == "sysctl" {
		var parts []string
		for _, k := range slices.Sorted(maps.Keys(c.Sysctls)) {
			parts = append(parts, clean(k)+" = "+clean(c.Sysctls[k]))
		}
		return strings.Join(parts, ", ")
	}
	if c.Detail != "" {
		return clean(c.Detail)
	}
	return strings.TrimSpace(clean(c.Interface) + " " + clean(c.State))
}

// wholeStep is the field of a mismatch that is no expectation of the user's: the
// step should have succeeded.
const wholeStep = "step"

// mismatch is one expectation that did not hold.
func (p page) mismatch(m journal.Mismatch) []string {
	lead, text := clean(m.Field)+": ", fmt.Sprintf("expected %s, seen %s", clean(m.Want), clean(m.Got))
	if m.Field == wholeStep {
		lead, text = "", clean(m.Got)
	}
	return each(p.wrap(indent+lead, indent+"  ", text), p.bad)
}

func each(lines []string, paint func(string) string) []string {
	for i, l := range lines {
		lines[i] = paint(l)
	}
	return lines
}

// output is one line that a program printed.
func (p page) output(l *lab, e journal.Event) []string {
	name := clean(e.Program)
	first := indent + pad(name, l.names) + " " + p.sym.bar + " "
	rest := indent + strings.Repeat(" ", l.names) + " " + p.sym.bar + " "
	return p.verbatim(p.dim(first), p.dim(rest), clean(e.Process.Line))
}

// exited tells of a process that ended without a step that was about it.
func (p page) exited(e journal.Event) []string {
	how := "exited"
	switch x := e.Process; {
	case x.Signal != "":
		how = "ended by " + clean(x.Signal)
	case x.Exit != nil:
		how = "exit " + strconv.Itoa(*x.Exit)
	}
	return each(p.wrap(indent, indent, fmt.Sprintf("%s (pid %d): %s", clean(e.Program), e.PID, how)), p.dim)
}

// maxRows bounds a table in the terminal; the report has all of it.
const maxRows = 12

// table sets a socket table in netstat's columns. Where it is too wide the
// timers go; a line too wide even so is folded.
func (p page) table(t *table) []string {
	if t.Error != "" {
		return p.wrap(indent, indent, "socket table of "+clean(t.host)+": "+clean(t.Error))
	}
	rows, more := t.Rows, 0
	if len(rows) > maxRows && !p.Verbose {
		rows, more = rows[:maxRows], len(rows)-maxRows
	}
	const margin = "  " // less than other details have: eighty columns are just enough
	lines := netstat(rows)
	if p.Width > 0 && widest(lines)+len(margin) > p.Width {
		lines = netstat(withoutTimers(rows))
	}
	var out []string
	for i, l := range lines {
		l = clean(l)
		if p.Width == 0 || width(l)+len(margin) <= p.Width {
			out = append(out, margin+l)
		} else {
			out = append(out, p.wrap(margin, margin+"  ", l)...)
		}
		if i == 0 {
			out = each(out, p.dim)
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("%s(%d more; the report has all)", margin, more))
	}
	return out
}

func netstat(rows []journal.Socket) []string {
	var b bytes.Buffer
	report.Netstat(&b, rows) // a buffer never fails
	lines := strings.Split(strings.TrimRight(b.String(), "\n"), "\n")
	if !slices.ContainsFunc(rows, func(r journal.Socket) bool { return r.Timer != "" || r.TimeLeft != nil }) {
		lines[0] = strings.TrimRight(strings.TrimSuffix(lines[0], "Timer"), " ")
	}
	return lines
}

func withoutTimers(rows []journal.Socket) []journal.Socket {
	rows = slices.Clone(rows)
	for i := range rows {
		rows[i].Timer, rows[i].TimeLeft = "", nil
	}
	return rows
}

func widest(lines []string) int {
	n := 0
	for _, l := range lines {
		n = max(n, width(l))
	}
	return n
}

// refusal is the explanation of a step's last refused bind or listen, set like
// the output of a program called why.
func (p page) refusal(l *lab, s *step) []string {
	if len(s.refused) == 0 {
		return nil
	}
	x, ok := l.history.Refusal(s.refused[len(s.refused)-1])
	if !ok {
		return nil
	}
	block := func(name, text string) []string {
		margin := func(name string) string { return indent + p.lesson(pad(name, l.names)+" "+p.sym.bar) + " " }
		return p.wrap(margin(name), margin(""), text)
	}
	fix := x.Fix
	x.Fix = "" // it has lines of its own
	lines := block("why", clean(x.String()))
	if fix != "" {
		lines = append(lines, block("fix", clean(fix)+".")...)
	}
	if before := len(s.refused) - 1; before > 0 {
		lines = append(lines, block("", fmt.Sprintf("(%s before it in this step; the report explains each)", count(before, "refused call")))...)
	}
	return lines
}

// syscall is one recorded call, for a verbose reader.
func (p page) syscall(e journal.Event) []string {
	c := e.Syscall
	result := strconv.Itoa(c.Result)
	if c.Failed() {
		result = fmt.Sprintf("%s (%d)", clean(c.Errno), c.Number)
	}
	fd := c.FD
	if c.Listener != 0 {
		fd = c.Listener
	}
	args := []string{strconv.Itoa(fd)}
	a := c.Args
	if c.Name == "socket" {
		args = nil
	}
	for _, s := range []string{a.Domain, a.Type, a.Level, a.Option, a.Value, a.How} {
		if s != "" {
			args = append(args, clean(s))
		}
	}
	if a.Address.IsValid() {
		args = append(args, a.Address.String())
	}
	if a.Backlog != nil {
		args = append(args, strconv.Itoa(*a.Backlog))
	}
	if a.Text != "" {
		args = append(args, strconv.Quote(clean(a.Text)))
	}
	return each(p.wrap(indent, indent+"  ", fmt.Sprintf("%s[%d] %s(%s) = %s, %s", clean(e.Program), e.PID,
		clean(c.Name), strings.Join(args, ", "), result, p.duration(c.Duration))), p.dim)
}

// underway is the line of a step that runs longer than others, printed before
// it ends.
func (p page) underway(l *lab, s *step) []string {
	seen := ""
	if s.timer != "" && !p.Animate {
		seen = fmt.Sprintf("waiting: %s has %s left by the kernel's timer", s.timer, seconds(s.left))
	}
	return p.row(p.dim(p.sym.begin)+" ", s.label(p), p.stepColumn(l), seen, "")
}

// live is the line of the step under way: the time it runs, or what is left of
// the kernel's timer that it waits for.
func (p page) live(l *lab, s *step, columns int) string {
	if s == nil {
		return ""
	}
	now := p.now()
	column := p.stepColumn(l)
	head := p.sym.begin + " " + pad(fit(s.label(p), column, p.sym.more), column) + "  "
	if s.timer == "" {
		text := seconds(now.Sub(s.at))
		if s.begin.Within > 0 {
			text += p.dim(", at most " + seconds(time.Duration(s.begin.Within)))
		}
		return p.bold(head) + text
	}
	left := s.due.Sub(now)
	text := seconds(left) + " left by the kernel's timer"
	if left <= 0 {
		text = "due now; the kernel's timer wheel is coarse"
	}
	room := columns - 1 - width(head) - width(text) - 1
	return p.bold(head) + p.bar(s.total-left, s.total, min(room, 40)) + text
}

// bar shows how much of a whole has passed; nothing where there is no room.
func (p page) bar(part, whole time.Duration, columns int) string {
	if columns < 5 || whole <= 0 {
		return ""
	}
	n := int(int64(columns) * int64(min(max(part, 0), whole)) / int64(whole))
	return p.good(strings.Repeat(p.sym.full, n)) + p.dim(strings.Repeat(p.sym.empty, columns-n)) + " "
}
