package scenario

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/clipperhouse/displaywidth"
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
