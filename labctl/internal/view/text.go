package view

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"

	"restartlab/labctl/internal/journal"
)

// page knows how to set text on the terminal at hand.
type page struct {
	Options
	now func() time.Time
	sym symbols

	good, bad, dim, bold, lesson func(string) string
}

// symbols are the signs of the layout. All but dot and more are one column wide.
type symbols struct {
	pass, fail, skip, begin, bar, full, empty, dot, more, micro string
}

func newPage(o Options) page {
	p := page{Options: o, now: o.Now, sym: symbols{
		pass: "✓", fail: "✗", skip: "–", begin: "▸", bar: "│", full: "█", empty: "░", dot: " · ", more: "…", micro: "µ"}}
	if p.now == nil {
		p.now = time.Now
	}
	if o.ASCII {
		p.sym = symbols{pass: "+", fail: "x", skip: "-", begin: ">", bar: "|", full: "#", empty: ".", dot: ", ", more: "...", micro: "u"}
	}
	paint := func(st lipgloss.Style) func(string) string {
		if !o.Color {
			return func(s string) string { return s }
		}
		return func(s string) string {
			if s == "" {
				return s
			}
			return st.Render(s)
		}
	}
	st := lipgloss.NewStyle()
	p.good = paint(st.Foreground(lipgloss.Green))
	p.bad = paint(st.Foreground(lipgloss.Red).Bold(true))
	p.dim = paint(st.Faint(true))
	p.bold = paint(st.Bold(true))
	p.lesson = paint(st.Foreground(lipgloss.Yellow))
	return p
}

// width is how many columns s takes.
func width(s string) int { return ansi.StringWidth(s) }

func pad(s string, columns int) string {
	return s + strings.Repeat(" ", max(0, columns-width(s)))
}

// layout is the width that columns are laid out for: 80 where none is known.
func (p page) layout() int {
	if p.Width == 0 {
		return 80
	}
	return max(p.Width, 40)
}

// text picks the reader's language.
func (p page) text(t journal.Text) string {
	if p.Chinese && t.ZH != "" {
		return clean(t.ZH)
	}
	return clean(t.EN)
}

// escapes matches the escape sequences of ECMA-48: CSI, terminated OSC and
// other strings, and the two-character ones.
var escapes = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]`)
})

// clean makes text of any origin safe to print on one line: no escape
// sequence, no control character, nothing that turns the direction of what
// follows. The journal keeps the text as it was.
func clean(s string) string {
	plain := true
	for i := 0; i < len(s); i++ {
		plain = plain && s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	s = escapes().ReplaceAllString(strings.ToValidUTF8(s, "\uFFFD"), "")
	s = strings.NewReplacer("\t", "    ", "\r\n", " ", "\n", " ").Replace(s)
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return -1
		}
		return r
	}, s)
}

// wrap sets prose: words are kept whole where they fit in a line. The first
// line begins with first, the others with rest.
func (p page) wrap(first, rest, prose string) []string {
	if p.Width == 0 || width(first)+width(prose) <= p.Width {
		return []string{first + prose}
	}
	return hang(first, rest, fold(prose, max(p.Width-max(width(first), width(rest)), 10)))
}

func hang(first, rest string, lines []string) []string {
	for i, l := range lines {
		if i == 0 {
			lines[i] = first + l
		} else {
			lines[i] = rest + l
		}
	}
	return lines
}

// fold breaks prose at spaces into lines of at most limit columns; a longer
// word is cut.
func fold(prose string, limit int) []string {
	lines := []string{""}
	n := 0
	for word := range strings.FieldsSeq(prose) {
		if n > 0 && n+1+width(word) > limit {
			lines, n = append(lines, ""), 0
		}
		if n > 0 {
			word = " " + word
		}
		pieces := strings.Split(ansi.Hardwrap(word, limit, true), "\n")
		for i, piece := range pieces {
			if i > 0 {
				lines, n = append(lines, ""), 0
			}
			lines[len(lines)-1] += piece
			n += width(piece)
		}
	}
	return lines
}

// verbatim sets text whose spaces count, cut where a line is full.
func (p page) verbatim(first, rest, text string) []string {
	if p.Width == 0 {
		return []string{first + text}
	}
	limit := max(p.Width-max(width(first), width(rest)), 10)
	return hang(first, rest, strings.Split(ansi.Hardwrap(text, limit, true), "\n"))
}

// row sets a head, a name in a column of its own, a text, and on the right what
// must be seen there, such as a duration. Text that does not fit continues
// below itself. A name wider than its column has a line to itself.
func (p page) row(head, name string, column int, text, right string) []string {
	margin := strings.Repeat(" ", width(head)+column+2)
	var lines []string
	if width(name) > column {
		lines, head = p.wrap(head, strings.Repeat(" ", width(head)), name), margin
	} else {
		head += pad(name, column+2)
	}
	body := p
	if right != "" && p.Width > 0 {
		body.Width -= max(width(right), timeColumn) + 2
	}
	texts := body.wrap(head, margin, text)
	if right != "" {
		gap := p.layout() - width(texts[0]) - width(right)
		texts[0] += strings.Repeat(" ", max(gap, 2)) + p.dim(right)
	}
	return append(lines, texts...)
}

// timeColumn is the width of a duration, as "999.9 ms".
const timeColumn = 8

func (p page) nameColumn() int { return min(max(p.layout()/4-2, 14), 28) }

// columnOf is a column for names known beforehand: as wide as the widest that takes
// no more than two fifths of the line.
func (p page) columnOf(names []string) int {
	column := p.nameColumn()
	for _, name := range names {
		if w := width(name); w <= p.layout()*2/5 {
			column = max(column, w)
		}
	}
	return column
}

// duration is short: "61.4 s", "2.1 ms", "45 µs".
func (p page) duration(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.1f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%d %ss", d.Microseconds(), p.sym.micro)
}

// seconds is for times that run: always of the same form, and never negative.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", max(d, 0).Seconds()) }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
