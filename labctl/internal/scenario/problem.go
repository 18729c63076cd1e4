package scenario

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/clipperhouse/displaywidth"
	"go.yaml.in/yaml/v4"
)

// Problem is one thing wrong with a scenario, and where.
type Problem struct {
	File string
	// Line and Column count from 1, the column in characters. A problem that
	// stands nowhere in the file, such as a wrong --set, has Line 0.
	Line, Column int
	Message      string
	Source       string // the line, without its end
}

// Problems are all the problems of one file, in the order of their places.
type Problems []Problem

// Error is every problem, one after another.
func (ps Problems) Error() string {
	s := make([]string, len(ps))
	for i, p := range ps {
		s[i] = p.String()
	}
	return strings.Join(s, "\n")
}

// String is "file:line:column: message", then the line, then a caret under the
// column.
func (p Problem) String() string {
	if p.Line == 0 {
		return fmt.Sprintf("%s: %s", p.File, p.Message)
	}
	head := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if strings.TrimSpace(p.Source) == "" {
		return head
	}
	line, caret := excerpt([]rune(p.Source), p.Column-1)
	return head + "\n" + line + "\n" + caret + "^"
}

// The longest part of a line that is shown, in characters, and how much of it
// stands before the caret when the line is longer.
const (
	maxExcerpt   = 100
	beforeColumn = 60
)

// excerpt cuts line around the character at, and makes the blank that brings a
// caret under it on a terminal: a tab stays a tab, a wide character counts two.
func excerpt(line []rune, at int) (text, blank string) {
	at = max(0, min(at, len(line)))
	var before, after string
	if len(line) > maxExcerpt {
		from := max(0, min(at-beforeColumn, len(line)-maxExcerpt))
		to := from + maxExcerpt
		if from > 0 {
			before = "…"
		}
		if to < len(line) {
			after = "…"
		}
		line, at = line[from:to], at-from
	}
	line = slices.Clone(line)
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", len([]rune(before))))
	for i, r := range line {
		if r != '\t' && !unicode.IsPrint(r) {
			r = unicode.ReplacementChar // an escape sequence must not reach the terminal
			line[i] = r
		}
		switch {
		case i >= at:
		case r == '\t':
			b.WriteByte('\t')
		default:
			b.WriteString(strings.Repeat(" ", displaywidth.Rune(r)))
		}
	}
	return before + string(line) + after, b.String()
}

// splitLines splits as the YAML parser counts lines.
func splitLines(text string) []string {
	text = strings.NewReplacer("\r\n", "\n", "\r", "\n", "\u0085", "\n", "\u2028", "\n", "\u2029", "\n").Replace(text)
	return strings.Split(text, "\n")
}

// problems collects what is wrong with one file.
type problems struct {
	file  string
	lines []string
	list  Problems
	told  map[string]*telling
	used  map[*yaml.Node]string // where a value of the matrix is used, for its problems
	muted int                   // while above 0, problems are none
	// The cell that is looked at: its number from 1 and its name. 0 before the
	// first and after the last.
	cell     int
	cellName string
}

// telling is a problem that was told: where it is in the list, and in how many
// cells it was met.
type telling struct {
	at, cells, last int
	first           string
}

func newProblems(file string, data []byte) *problems {
	return &problems{file: file, lines: splitLines(string(data)), told: map[string]*telling{}, used: map[*yaml.Node]string{}}
}

// begin says which cell is looked at from now on.
func (p *problems) begin(cell int, name string) {
	p.cell, p.cellName = cell, name
	clear(p.used)
}

// unmuted does what must be told even in a part that does not count.
func (p *problems) unmuted(do func()) {
	muted := p.muted
	p.muted = 0
	defer func() { p.muted = muted }()
	do()
}

// add notes a problem at n; a nil n stands nowhere in the file. What is found
// twice, through an alias, in a repeat or in another cell, is told once.
func (p *problems) add(n *yaml.Node, format string, args ...any) {
	if p.muted > 0 {
		return
	}
	problem := Problem{File: p.file, Message: fmt.Sprintf(format, args...)}
	if n != nil {
		problem.Message += p.used[n]
		problem.Line, problem.Column = n.Line, n.Column
		problem.Source = p.source(n.Line)
	}
	id := fmt.Sprintf("%d:%d:%s", problem.Line, problem.Column, problem.Message)
	if t := p.told[id]; t != nil {
		if t.last != p.cell {
			t.cells, t.last = t.cells+1, p.cell
		}
		return
	}
	if len(p.list) > maxProblems {
		return
	}
	t := &telling{at: len(p.list), cells: 1, last: p.cell, first: p.cellName}
	if p.used[n] != "" || p.cell == 0 {
		t.first = "" // it says for itself which cells it is of
	}
	p.told[id] = t
	if len(p.list) == maxProblems {
		problem = Problem{File: p.file, Message: "there are more problems; these first"}
		t.first = ""
	}
	p.list = append(p.list, problem)
}

// ofCells says of each problem that not all cells have which have it.
func (p *problems) ofCells(cells int) {
	for _, t := range p.told {
		switch {
		case t.first == "" || t.cells == cells:
		case t.cells == 1:
			p.list[t.at].Message += "; in the cell " + t.first
		default:
			p.list[t.at].Message += fmt.Sprintf("; in %d of the %d cells, first in %s", t.cells, cells, t.first)
		}
		t.first = ""
	}
}

// wrong notes a problem and that v is not to be relied on.
func (p *problems) wrong(v placed, n *yaml.Node, format string, args ...any) {
	v.spot().bad = true
	p.add(n, format, args...)
}

// source is a line of the file, counted from 1.
func (p *problems) source(line int) string {
	if line < 1 || line > len(p.lines) {
		return ""
	}
	return p.lines[line-1]
}

// sorted is every problem in the order of the file, those that stand nowhere
// in it last.
func (p *problems) sorted() Problems {
	slices.SortStableFunc(p.list, func(a, b Problem) int {
		if (a.Line == 0) != (b.Line == 0) {
			return cmp.Compare(b.Line, a.Line)
		}
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return p.list
}
