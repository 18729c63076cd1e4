package scenario

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"restartlab/labctl/internal/journal"
)

// Expect says what must be seen. A nil or empty field is not checked.
type Expect struct {
	Any     bool    `json:"any,omitempty"` // only record
	Result  string  `json:"result,omitempty"`
	Bind    string  `json:"bind,omitempty"`
	Listen  string  `json:"listen,omitempty"`
	Connect string  `json:"connect,omitempty"`
	Exit    *Amount `json:"exit,omitempty"`
	Signal  string  `json:"signal,omitempty"`
	// Lines must appear as whole output lines, in this order; others may
	// stand between them.
	Lines   []string `json:"lines,omitempty"`
	Holders Tally    `json:"holders,omitzero"`
	States  Tally    `json:"states,omitzero"`
	Queued  *Amount  `json:"queued,omitempty"`
	// Text is what recv must read, whole; "" is not checked.
	Text string  `json:"text,omitempty"`
	Port *Amount `json:"port,omitempty"` // the local port that the socket has after the call
	Took *Took   `json:"took,omitempty"`
}

// Amount is an exact number (Min equals Max) or a range; a nil end is open.
type Amount struct {
	Min *int64 `json:"min,omitempty"`
	Max *int64 `json:"max,omitempty"`
}

// Exactly is the amount n.
func Exactly(n int64) *Amount { return &Amount{&n, &n} }

// Holds reports whether n lies in the range, ends included.
func (a *Amount) Holds(n int64) bool {
	return (a.Min == nil || n >= *a.Min) && (a.Max == nil || n <= *a.Max)
}

func (a *Amount) text(unit func(int64) string) string {
	switch {
	case a.Min != nil && a.Max != nil && *a.Min == *a.Max:
		return unit(*a.Min)
	case a.Min != nil && a.Max != nil:
		return unit(*a.Min) + " to " + unit(*a.Max)
	case a.Min != nil:
		return "at least " + unit(*a.Min)
	case a.Max != nil:
		return "at most " + unit(*a.Max)
	}
	return "anything"
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func (a *Amount) String() string { return a.text(number) }

// Tally is how many there must be of each; of what it does not name there must
// be none. A nil tally is not checked, an empty one wants nothing at all.
type Tally map[string]*Amount

// Took bounds a time in nanoseconds: that of the step, or since the beginning
// of the step named Since.
type Took struct {
	Since  string `json:"since,omitempty"`
	Amount `json:"amount"`
}

// NamesFailure reports whether e wants the step itself not to succeed.
func (e *Expect) NamesFailure() bool {
	if e == nil {
		return false
	}
	for _, s := range []string{e.Result, e.Bind, e.Listen, e.Connect} {
		if s != "" && s != "ok" {
			return true
		}
	}
	return e.Signal != "" || e.Exit != nil && !e.Exit.Holds(0)
}

// Check compares what a step saw with what e wants. A nil e wants success
// alone. The result is empty if everything holds.
func (e *Expect) Check(o *journal.Observed) []journal.Mismatch {
	if e != nil && e.Any {
		return nil
	}
	var bad []journal.Mismatch
	miss := func(field, want, got string) {
		bad = append(bad, journal.Mismatch{Field: field, Want: want, Got: got})
	}
	if e != nil {
		word := func(field, want, got string) {
			if want != "" && want != got {
				if got == "" {
					got = "nothing"
				}
				miss(field, want, got)
			}
		}
		word("result", e.Result, o.Result)
		word("bind", e.Bind, o.Bind)
		word("listen", e.Listen, o.Listen)
		word("connect", e.Connect, o.Connect)
		word("signal", e.Signal, o.Signal)
		word("text", e.Text, o.Text)
		amount := func(field string, want *Amount, got *int) {
			switch {
			case want == nil:
			case got == nil && field == "exit" && o.Signal != "":
				miss(field, want.String(), "ended by "+o.Signal)
			case got == nil:
				miss(field, want.String(), "nothing")
			case !want.Holds(int64(*got)):
				miss(field, want.String(), strconv.Itoa(*got))
			}
		}
		amount("exit", e.Exit, o.Exit)
		amount("queued", e.Queued, o.Queued)
		amount("port", e.Port, o.Port)
		e.Holders.check("holders", o.Holders, miss)
		e.States.check("states", o.States, miss)
		if line, ok := missing(e.Lines, o.Lines); ok {
			got := "no output"
			if len(o.Lines) > 0 {
				got = "output " + quoted(o.Lines)
			}
			if o.Unkept > 0 {
				got += fmt.Sprintf(", and %d lines beyond what is kept of one process", o.Unkept)
			}
			miss("lines", strconv.Quote(line), got)
		}
		if e.Took != nil && !e.Took.Holds(o.Took) {
			miss("took", e.Took.text(journal.Duration), journal.Duration(o.Took))
		}
	}
	if o.Failure != "" && !e.NamesFailure() {
		bad = append([]journal.Mismatch{{Field: "step", Want: "success", Got: o.Failure}}, bad...)
	}
	return bad
}

func (t Tally) check(field string, got map[string]int, miss func(field, want, got string)) {
	if t == nil {
		return
	}
	if got == nil {
		miss(field, t.String(), "nothing")
		return
	}
	for _, k := range sorted(t) {
		if !t[k].Holds(int64(got[k])) {
			miss(field+"."+k, t[k].String(), strconv.Itoa(got[k]))
		}
	}
	for _, k := range sorted(got) {
		if t[k] == nil && got[k] > 0 {
			miss(field+"."+k, "0", strconv.Itoa(got[k]))
		}
	}
}

func (t Tally) String() string {
	if len(t) == 0 {
		return "none"
	}
	var s []string
	for _, k := range sorted(t) {
		s = append(s, k+" "+t[k].String())
	}
	return strings.Join(s, ", ")
}

// missing finds the first of want that does not follow, in order, in got.
func missing(want, got []string) (line string, ok bool) {
	for _, w := range want {
		i := slices.Index(got, w)
		if i < 0 {
			return w, true
		}
		got = got[i+1:]
	}
	return "", false
}

// quoted shows the last lines of an output, shortened.
func quoted(lines []string) string {
	const most, longest = 8, 200
	var q []string
	if more := len(lines) - most; more > 0 {
		q, lines = append(q, fmt.Sprintf("(%d lines before)", more)), lines[more:]
	}
	for _, l := range lines {
		if r := []rune(l); len(r) > longest {
			l = string(r[:longest]) + "..."
		}
		q = append(q, strconv.Quote(l))
	}
	return strings.Join(q, ", ")
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
