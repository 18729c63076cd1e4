package view

import (
	"io"
	"strings"
)

// readable is the widest that prose is set: longer lines tire the eye.
const readable = 88

// Prose prints a title and a text of several paragraphs, which blank lines part.
// Lines that begin with a blank and a list's items stay lines of their own.
func Prose(w io.Writer, o Options, title, text string) error {
	p := newPage(o)
	if p.Width > 0 {
		p.Width = min(p.Width, readable)
	}
	lines := append(each(p.wrap("", "", clean(title)), p.bold), "")
	return write(w, append(lines, p.paragraphs("", strings.TrimSpace(text))...))
}

// paragraphs wraps a text of several lines.
func (p page) paragraphs(margin, text string) []string {
	var out []string
	held := ""
	flush := func() {
		if held == "" {
			return
		}
		rest := margin
		if strings.HasPrefix(held, "- ") {
			rest += "  "
		}
		out, held = append(out, p.wrap(margin, rest, held)...), ""
	}
	for line := range strings.Lines(text) {
		line = clean(strings.TrimRight(line, " \r\n"))
		switch {
		case line == "":
			flush()
			out = append(out, "")
		case line[0] == ' ':
			flush()
			body := strings.TrimLeft(line, " ")
			blanks := margin + line[:len(line)-len(body)]
			out = append(out, p.wrap(blanks, blanks+"  ", body)...)
		case strings.HasPrefix(line, "- "):
			flush()
			held = line
		default:
			held = join(held, line)
		}
	}
	flush()
	return out
}

// join puts two lines of a paragraph together: with a blank between them, but
// not within Chinese text, which has none.
func join(a, b string) string {
	if a == "" {
		return b
	}
	last, first := []rune(a), []rune(b)
	if width(string(last[len(last)-1])) == 2 && width(string(first[0])) == 2 {
		return a + b
	}
	return a + " " + b
}
