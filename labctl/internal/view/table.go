package view

import (
	"io"
	"slices"

	"restartlab/labctl/internal/journal"
)

// Row is a line of a list: a name and a text that may be longer than a line,
// with the mark of a verdict before it if there is one.
type Row struct {
	Name, Text string
	Verdict    journal.Verdict
}

// List prints names and texts in two columns, texts wrapped at the width.
func List(w io.Writer, o Options, rows []Row) error {
	p := newPage(o)
	var lines []string
	names := 0
	for _, r := range rows {
		names = max(names, width(clean(r.Name)))
	}
	marked := slices.ContainsFunc(rows, func(r Row) bool { return r.Verdict != "" })
	for _, r := range rows {
		head := ""
		if marked {
			head = p.mark(r.Verdict) + " "
		}
		lines = append(lines, p.row(head, clean(r.Name), min(names, p.layout()/3), clean(r.Text), "")...)
	}
	return write(w, lines)
}

// mark is the sign of a verdict, coloured; a space for none.
func (p page) mark(v journal.Verdict) string {
	switch v {
	case "":
		return " "
	case journal.Pass:
		return p.good(p.sym.pass)
	case journal.Incomplete, journal.Skipped:
		return p.dim(p.sym.skip)
	}
	return p.bad(p.sym.fail)
}

// Check is a line of yes or no, and why.
type Check struct {
	Name string
	OK   bool
	Why  string
}

// Checks prints what is there and what is not, each with its reason.
func Checks(w io.Writer, o Options, checks []Check) error {
	p := newPage(o)
	var lines []string
	names := 0
	for _, c := range checks {
		names = max(names, width(clean(c.Name)))
	}
	for _, c := range checks {
		sign, word, paint := p.sym.pass, "yes", p.good
		if !c.OK {
			sign, word, paint = p.sym.fail, "no ", p.bad
		}
		head := paint(sign+" "+word) + "  "
		lines = append(lines, p.row(head, clean(c.Name), min(names, p.layout()/3), clean(c.Why), "")...)
	}
	return write(w, lines)
}

func write(w io.Writer, lines []string) error {
	s := screen{w: w}
	s.print(lines...)
	return s.err
}
