package view

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

func TestFold(t *testing.T) {
	for _, c := range []struct {
		prose string
		limit int
		want  []string
	}{
		{"", 5, []string{""}},
		{"one two  three", 7, []string{"one two", "three"}},
		{"abcdefghij", 4, []string{"abcd", "efgh", "ij"}},
		{"a bcdefghi j", 4, []string{"a", "bcde", "fghi", "j"}},
		{"SO_REUSEADDR -> b", 15, []string{"SO_REUSEADDR ->", "b"}},
		{"中文字符 ab", 5, []string{"中文", "字符", "ab"}},
	} {
		if d := cmp.Diff(c.want, fold(c.prose, c.limit)); d != "" {
			t.Errorf("fold(%q, %d):\n%s", c.prose, c.limit, d)
		}
	}
}

// Whatever a program prints, what reaches the terminal is one line of text
// that cannot move the cursor, and cleaning it again changes nothing.
func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "plain", "\x1b[31mred\x1b[m", "\x1b]0;title", "\x1b\x1b[31m[31m", "\xff\x9b31m", "\u202e\u2028\u0085", "a\tb\r\nc",
		"\x1b[3\x011m", "👩‍👩‍👧 中文"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("clean(%q) = %q", s, got)
		}
		if again := clean(got); again != got {
			t.Errorf("clean(%q) = %q, then %q", s, got, again)
		}
		for _, line := range fold(got, 10) {
			if width(line) > 10 {
				t.Errorf("fold(%q, 10) has the line %q of %d columns", got, line, width(line))
			}
		}
	})
}

// TestStepColumn keeps what stands beside the steps in one column, whatever they are
// called: the widest name that leaves room sets it, a wider one has its own line.
func TestStepColumn(t *testing.T) {
	p := newPage(Options{Width: 80})
	l := &lab{plan: []journal.Planned{{ID: "start app"}, {Title: journal.Text{EN: "The server has its FIN, at last"}}, {Title: journal.Text{EN: strings.Repeat("long ", 9)}}}}
	column := p.stepColumn(l)
	if want := width("The server has its FIN, at last"); column != want {
		t.Errorf("the column is %d wide, want %d", column, want)
	}
	for _, s := range l.plan {
		lines := p.row("v ", p.label(s.Title, s.ID), column, "seen", "1.0 ms")
		if at := strings.Index(lines[len(lines)-1], "seen"); at != 2+column+2 {
			t.Errorf("beside %q the text stands in column %d:\n%s", p.label(s.Title, s.ID), at, strings.Join(lines, "\n"))
		}
	}
}
