package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"restartlab/labctl/internal/journal"
)

// Program output may hold anything. A document shows of one line at most
// longestLine characters, of one list of lines at most mostLines, and says how
// much it left out; report.json has all.
const (
	longestLine = 2000
	mostLines   = 400
)

// clean makes characters visible that would not print as themselves: control
// characters, escape sequences, and those that reorder text on the screen.
// Tabs stay.
func clean(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, c := range s { // invalid bytes come as U+FFFD
		switch {
		case !unprintable(c):
			b.WriteRune(c)
		case c < 0x20:
			b.WriteRune(0x2400 + c) // SYMBOL FOR ...
		case c == 0x7f:
			b.WriteRune(0x2421)
		default:
			fmt.Fprintf(&b, "<U+%04X>", c)
		}
	}
	return b.String()
}

func unprintable(c rune) bool {
	switch {
	case c == '\t':
		return false
	case unicode.In(c, unicode.Cc, unicode.Zl, unicode.Zp):
		return true
	}
	return unicode.Is(unicode.Bidi_Control, c) || c == '\ufeff'
}

// short is a line of output as documents show it.
func short(s string) string {
	s = clean(s)
	if n := utf8.RuneCountInString(s); n > longestLine {
		return string([]rune(s)[:longestLine]) + fmt.Sprintf(" [%d more characters in report.json]", n-longestLine)
	}
	return s
}

// fewer keeps the first and last of many lines, and says how many it left out.
func fewer(lines []string) []string {
	if len(lines) <= mostLines {
		return lines
	}
	kept := slices.Clone(lines[:mostLines/2])
	kept = append(kept, fmt.Sprintf("[%d more lines in report.json]", len(lines)-mostLines))
	return append(kept, lines[len(lines)-mostLines/2:]...)
}

// headline says in a sentence how the run ended, and what its observers lost.
func (r *Report) headline() string {
	if lost := r.losses(); lost != "" {
		return r.outcome() + "; " + lost
	}
	return r.outcome()
}

// losses says how many events are missing, empty if none is known to be.
func (r *Report) losses() string {
	if r.Environment.Lost == 0 {
		return ""
	}
	return count(r.Environment.Lost, "event") + " lost by the observers"
}

func (r *Report) outcome() string {
	done := 0
	for _, s := range r.Steps {
		if s.Status == journal.Pass {
			done++
		}
	}
	switch bad := r.decisive(); {
	case r.Verdict == journal.Pass && r.Scenario.Live:
		return fmt.Sprintf("a lab to type in, up for %s: %s started by hand", journal.Duration(r.Duration), count(len(r.Processes), "program"))
	case r.Verdict == journal.Pass:
		return fmt.Sprintf("every expectation held: %s in %s", count(done, "step"), r.long(r.Duration))
	case r.Verdict == journal.Incomplete:
		return fmt.Sprintf("the run ended early: %d of %s done in %s", done, count(len(r.Steps), "step"), r.long(r.Duration))
	case bad != nil && bad.Line != 0:
		return fmt.Sprintf("at step %d, %s (line %d)", bad.Index, bad.name(), bad.Line)
	case bad != nil:
		return fmt.Sprintf("at step %d, %s", bad.Index, bad.name())
	}
	return fmt.Sprintf("%d of %s done in %s", done, count(len(r.Steps), "step"), r.long(r.Duration))
}

// decisive is the step that ended the lab, nil if none did.
func (r *Report) decisive() *Step {
	i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.Status == journal.Fail || s.Status == journal.Error })
	if i < 0 {
		return nil
	}
	return &r.Steps[i]
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// title is the scenario's question, or its name.
func (r *Report) title() string {
	if r.Scenario.Title.EN != "" {
		return r.Scenario.Title.EN
	}
	return r.Scenario.Name
}

// name is what a reader calls the step.
func (s *Step) name() string {
	switch {
	case s.Title.EN != "":
		return s.Title.EN
	case s.ID != "":
		return s.ID
	}
	return "(not reached)" // and not named by the journal of an older labctl
}

// expected is what the step had to show.
func (s *Step) expected() string {
	if len(s.Expected) > 0 {
		return flow(s.Expected)
	}
	if !s.reached {
		return ""
	}
	return "success"
}

// observed is what the step showed, in the words of expectations. Output lines
// and the time it took are named only where they were expected.
func (s *Step) observed() string {
	o := s.Observed
	if o == nil {
		if !s.reached {
			return "not reached"
		}
		return ""
	}
	wants := func(field string) bool { return bytes.Contains(s.Expected, []byte(strconv.Quote(field))) }
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+": "+value)
		}
	}
	number := func(name string, n *int) {
		if n != nil {
			add(name, strconv.Itoa(*n))
		}
	}
	some := func(name string, n map[string]int) {
		if n == nil {
			return
		}
		if len(n) == 0 {
			add(name, "none")
			return
		}
		add(name, tally(n))
	}
	add("bind", o.Bind)
	add("listen", o.Listen)
	add("connect", o.Connect)
	add("result", o.Result)
	add("ready", o.Ready)
	some("holders", o.Holders)
	some("states", o.States)
	number("queued", o.Queued)
	number("exit", o.Exit)
	add("signal", o.Signal)
	if wants("lines") {
		add("lines", strings.Join(o.Lines, " / "))
	}
	if wants("took") {
		add("took", s.long(o.Took))
	}
	if o.Failure != "" && (s.Status != journal.Pass || len(parts) == 0) {
		parts = append(parts, o.Failure)
	}
	if len(parts) == 0 {
		return "done"
	}
	return strings.Join(parts, "; ")
}

// flow writes JSON as the scenario language is written, on one line: "bind:
// EADDRINUSE, holders: {TIME_WAIT: 1}". What is no JSON comes out as it is.
func flow(raw json.RawMessage) string {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	text, err := flowValue(d, 0)
	if err != nil {
		return string(raw)
	}
	return text
}

// deepest is how deep flow follows JSON; expectations are four deep.
const deepest = 100

func flowValue(d *json.Decoder, depth int) (string, error) {
	token, err := d.Token()
	if err != nil || depth > deepest {
		return "", fmt.Errorf("not to be shown: %w", err)
	}
	switch t := token.(type) {
	case json.Delim:
		var parts []string
		for d.More() {
			name := ""
			if t == '{' {
				key, err := flowValue(d, depth+1)
				if err != nil {
					return "", err
				}
				name = key + ": "
			}
			value, err := flowValue(d, depth+1)
			if err != nil {
				return "", err
			}
			parts = append(parts, name+value)
		}
		if _, err := d.Token(); err != nil && err != io.EOF {
			return "", err
		}
		text := strings.Join(parts, ", ")
		switch {
		case t == '[':
			return "[" + text + "]", nil
		case depth > 0 || text == "":
			return "{" + text + "}", nil
		}
		return text, nil
	case string:
		if t == "" || strings.ContainsAny(t, ",:{}[]\"'#\n\t") || strings.TrimSpace(t) != t {
			return strconv.Quote(t), nil
		}
		return t, nil
	case nil:
		return "null", nil
	}
	return fmt.Sprint(token), nil
}

// shown are the tables worth a reader's time: of each host every table that
// differs from the one shown before it, timers and queues apart. A refused
// call's table belongs to its evidence and is not among them.
func (r *Report) shown() []Table {
	var tables []Table
	last := map[string]string{}
	for _, t := range r.Sockets {
		if t.Reason == "refused" {
			continue
		}
		now := t.Error
		for _, row := range t.Rows {
			if t.Port == 0 || row.Local.Port() == t.Port {
				now += fmt.Sprintln(row.State, row.Local, row.Remote)
			}
		}
		before, seen := last[t.Host]
		if now == before && (seen || now == "") {
			continue
		}
		last[t.Host] = now
		tables = append(tables, t)
	}
	return tables
}

// of returns the elements that belong to a step.
func of[T any](all []T, step int, get func(T) int) []T {
	var some []T
	for _, x := range all {
		if get(x) == step {
			some = append(some, x)
		}
	}
	return some
}

// evidence are the events that a bind's explanation rests on, and the call
// itself.
func (r *Report) evidence(b Bind) []Event {
	n := []int{b.N}
	for _, c := range b.Clauses {
		n = append(n, c.Events...)
	}
	slices.Sort(n)
	n = slices.Compact(n)
	var events []Event
	for _, e := range r.Events {
		if _, ok := slices.BinarySearch(n, e.N); ok {
			events = append(events, e)
		}
	}
	return events
}

// refused are the binds and listens that the kernel refused.
func (r *Report) refused() []Bind {
	var some []Bind
	for _, b := range r.Binds {
		if b.Result != "ok" {
			some = append(some, b)
		}
	}
	return some
}

// tableAfter is the table that was read after a refused call.
func (r *Report) tableAfter(n int) (Table, bool) {
	i := slices.IndexFunc(r.Sockets, func(t Table) bool { return t.After == n })
	if i < 0 {
		return Table{}, false
	}
	return r.Sockets[i], true
}

// netstat is the table as text.
func (t Table) netstat() string {
	if t.Error != "" {
		return t.Error + "\n"
	}
	var b strings.Builder
	Netstat(&b, t.Rows) // a strings.Builder takes everything
	return b.String()
}

// caption says what a table shows.
func (t Table) caption() string {
	text := fmt.Sprintf("%s at %s", t.Host, clock(t.T))
	switch {
	case t.After != 0:
		text += fmt.Sprintf(", right after #%d", t.After)
	case t.Reason == "wait":
		text += ", while waiting"
	case t.Reason == "held":
		text += ", while the lab was held"
	}
	if t.Port != 0 {
		text += fmt.Sprintf(", port %d only", t.Port)
	}
	return text
}

// again is the command that runs the scenario once more.
func (r *Report) again() string {
	s := r.Scenario
	words := []string{"labctl", "run", s.File}
	if s.Live {
		words[1] = "up"
		if strings.HasSuffix(s.File, " (built in)") {
			words = words[:2]
		}
	}
	if name, ok := strings.CutSuffix(s.File, " (shipped)"); ok {
		words[2] = name
	}
	for _, name := range slices.Sorted(maps.Keys(s.Set)) {
		for value := range strings.FieldsSeq(s.Set[name]) { // several of an axis
			words = append(words, "--set", name+"="+value)
		}
	}
	if len(s.Joined) > 0 {
		words = append(words, "--join", joinArgument(s.Joined))
	}
	if len(s.Command) > 0 {
		words = append(append(words, "--"), s.Command...)
	}
	for i, w := range words {
		words[i] = shell(w)
	}
	return strings.Join(words, " ")
}

// joinArgument is what --join was given.
func joinArgument(joined map[string]int) string {
	var pairs []string
	for _, host := range slices.Sorted(maps.Keys(joined)) {
		pairs = append(pairs, fmt.Sprintf("%s=%d", host, joined[host]))
	}
	return strings.Join(pairs, ",")
}

// shell quotes a word for sh if it needs it.
func shell(w string) string {
	plain := func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./=:,+@%", c)
	}
	if w != "" && strings.IndexFunc(w, func(c rune) bool { return !plain(c) }) < 0 {
		return w
	}
	return "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
}
