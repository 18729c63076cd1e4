package study

import (
	"slices"
	"strconv"
	"strings"
)

func number(n int) string { return strconv.Itoa(n) }

// Tally is a count by name as text: "LISTEN 1, TIME_WAIT 2"; "none" for an
// empty one, and nothing for one that was not looked at.
func Tally(t map[string]int) string {
	if t == nil {
		return ""
	}
	names := make([]string, 0, len(t))
	for name, n := range t {
		if n != 0 {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = name + " " + number(t[name])
	}
	return strings.Join(names, ", ")
}

// Text is all of an answer that a comparison looks at, on one line:
// "EADDRINUSE (TIME_WAIT 1)".
func (a *Answer) String() string {
	text := a.Result
	if len(a.Holders) > 0 {
		text += " (" + Tally(a.Holders) + ")"
	}
	if a.States != nil {
		text += " [" + Tally(a.States) + "]"
	}
	if len(a.Results) > 0 {
		text += " {" + Tally(a.Results) + "}"
	}
	if a.Queued != nil {
		text += " queued " + number(*a.Queued)
	}
	if a.Text != "" {
		text += " " + strconv.Quote(a.Text)
	}
	return text
}

// Text is all of a row's answers that a comparison looks at, on one line.
func (r *Row) String() string {
	texts := make([]string, len(r.Answers))
	for i := range r.Answers {
		texts[i] = r.Answers[i].Step + ": " + r.Answers[i].String()
	}
	return strings.Join(texts, "; ")
}
