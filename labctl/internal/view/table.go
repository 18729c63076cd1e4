package view

import "io"

// Row is a line of a list: a name and a text that may be longer than a line.
type Row struct{ Name, Text string }

// List prints names and texts in two columns, texts wrapped at the width.
func List(w io.Writer, o Options, rows []Row) error {
	p := newPage(o)
	var lines []string
	names := 0
	for _, r := range rows {
		names = max(names, width(clean(r.Name)))
	}
	for _, r := range rows {
		lines = append(lines, p.row("", clean(r.Name), min(names, p.layout()/3), clean(r.Text), "")...)
	}
	return write(w, lines)
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
