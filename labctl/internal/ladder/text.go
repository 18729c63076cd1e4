package ladder

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// TextWidth is how many columns the text ladder takes at most.
const TextWidth = 100

// The columns of the text ladder: time, the left host's events, the wire, the
// right host's. With one host, its events have the room of both.
const (
	timeCells  = 12
	sideCells  = 29
	wireCells  = 26
	aloneCells = 50
)

// Text writes the ladder as text of fixed width, for a terminal or an issue.
func (l *Ladder) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, line := range l.Lines() {
		fmt.Fprintln(b, line)
	}
	return b.Flush()
}

// Lines are the lines of the text ladder, none wider than TextWidth.
func (l *Ladder) Lines() []string {
	t := textLadder{Ladder: l}
	t.paragraph("", strings.Join(append([]string{l.Title}, l.Facts...), " · "))
	t.head()
	for i := range l.Rows {
		t.row(&l.Rows[i])
	}
	t.paragraph("", "")
	for i, s := range l.Sockets {
		if i == mostNamed {
			t.line(fmt.Sprintf("and %d more sockets", len(l.Sockets)-mostNamed))
			break
		}
		t.paragraph("", socketLine(l, s))
		if len(s.Path) > 0 {
			t.paragraph("    ", s.way())
		}
	}
	for _, n := range l.Notes {
		t.paragraph("! ", n)
	}
	return t.lines
}

// way is a socket's path in one line: "CLOSE 0.021 SYN_SENT ...".
func (s *Socket) way() string {
	text := s.Path[0].From
	for _, p := range s.Path {
		text += fmt.Sprintf(" → %s +%s", p.To, clock(p.T))
		if p.Source != "kernel" {
			text += " (" + p.Source + ")"
		}
	}
	return text
}

type textLadder struct {
	*Ladder
	lines []string
}

func (t *textLadder) line(s string) { t.lines = append(t.lines, strings.TrimRight(s, " ")) }

// paragraph writes a text over as many lines as it needs.
func (t *textLadder) paragraph(indent, s string) {
	first, rest := split(s, TextWidth-len(indent))
	t.line(indent + first)
	for rest != "" {
		first, rest = split(rest, TextWidth-len(indent))
		t.line(strings.Repeat(" ", len(indent)) + first)
	}
}

func (t *textLadder) alone() bool { return len(t.Hosts) < 2 }

func (t *textLadder) head() {
	side := sideCells
	if t.alone() {
		side = aloneCells
	}
	var names, addresses [mostLanes]string
	for i, h := range t.Hosts {
		names[i] = h.Name
		if len(h.Addresses) > 0 {
			addresses[i] = h.Addresses[0]
		}
	}
	pad := func(s string) string { return left(fit(s, side), side) }
	blank := strings.Repeat(" ", timeCells)
	gap := strings.Repeat(" ", wireCells+4)
	t.line(blank + pad(names[0]) + gap + pad(names[1]))
	t.line(left("time in s", timeCells) + pad(addresses[0]) + gap + pad(addresses[1]))
}

func left(s string, n int) string { return s + strings.Repeat(" ", max(0, n-cells(s))) }

func (t *textLadder) row(r *Row) {
	switch r.Kind {
	case StepRow:
		text := fit(fmt.Sprintf("── %s %d  %s ", r.Mark, r.Step, r.Text), TextWidth-2)
		t.line(text + strings.Repeat("─", max(0, TextWidth-cells(text))))
		return
	case FoldRow:
		text := fit("· · ·  "+r.Text+"  · · ·", TextWidth)
		t.line(strings.Repeat(" ", max(0, (TextWidth-cells(text))/2)) + text)
		return
	case ArriveRow:
		if r.Segment.Out >= 0 {
			return // the arrow stands where it left
		}
	}
	if r.Host < 0 {
		t.paragraph(left(clock(r.T), timeCells), r.Text)
		return
	}
	if r.Kind == SegmentRow || r.Kind == ArriveRow {
		t.arrow(r)
		return
	}
	text := r.Text
	switch {
	case r.Bad && r.Kind == CallRow:
		text = "✗ " + text
	case r.Kind == StateRow || r.Kind == LookRow || r.Kind == ResetRow:
		text = "  " + text
	case r.Kind == OutputRow:
		text = "| " + text
	}
	side, wire := sideCells, " |"+strings.Repeat(" ", wireCells)+"| "
	if t.alone() {
		side, wire = aloneCells, " |"
	}
	when := clock(r.T)
	for first := ""; text != ""; when = "" {
		first, text = split(text, side)
		if r.Host == 0 {
			t.line(left(when, timeCells) + left(first, side) + wire)
		} else {
			t.line(left(when, timeCells) + strings.Repeat(" ", side) + wire + first)
		}
		if text != "" {
			text = "    " + strings.TrimLeft(text, " ")
		}
	}
}

func (t *textLadder) arrow(r *Row) {
	s := r.Segment
	label := " " + fit(s.Short, wireCells-6) + " "
	from := s.From
	if from < 0 {
		from = t.other(s.To)
	}
	when := left(clock(r.T), timeCells)
	if t.alone() || from == s.To {
		side := sideCells
		if t.alone() {
			side = aloneCells
		}
		end := "loopback"
		switch {
		case s.Lost:
			end = "lost"
		case s.In < 0:
			end = "arrival not recorded"
		}
		t.line(fit(when+strings.Repeat(" ", side)+" |-"+label+"-> "+end, TextWidth))
		return
	}
	dashes := wireCells - cells(label) - 1
	tail, tip := strings.Repeat("-", dashes/2), strings.Repeat("-", dashes-dashes/2)
	mark := ">"
	if from == 1 {
		mark = "<"
	}
	switch {
	case s.Lost:
		mark = "X"
	case s.In < 0 || s.Out < 0:
		mark = "?"
	}
	arrow := tail + label + tip + mark
	if from == 1 {
		arrow = mark + tip + label + tail
	}
	t.line(when + strings.Repeat(" ", sideCells) + " |" + arrow + "|")
}

// Mermaid writes the ladder as a Mermaid sequence diagram. What the renderers on
// forges refuse to draw, since it is too long, is left out and said to be.
func (l *Ladder) Mermaid(w io.Writer) error {
	const most = 45_000 // Mermaid's maxTextSize is 50,000 characters
	b := bufio.NewWriter(w)
	fmt.Fprintln(b, "sequenceDiagram")
	for i, h := range l.Hosts {
		fmt.Fprintf(b, "    participant h%d as %s\n", i, mermaid(strings.TrimSpace(h.Name+" "+strings.Join(h.Addresses[:min(1, len(h.Addresses))], ""))))
	}
	if len(l.Hosts) == 0 {
		fmt.Fprintln(b, "    participant h0 as no host")
	}
	all := "h0"
	if len(l.Hosts) > 1 {
		all = "h0,h1"
	}
	size := 0
	for i := range l.Rows {
		line := l.mermaidRow(&l.Rows[i], all)
		if size += len(line); size > most {
			fmt.Fprintf(b, "    Note over %s: %s\n", all, mermaid(fmt.Sprintf("cut here: %d more rows are in the report", len(l.Rows)-i)))
			break
		}
		b.WriteString(line)
	}
	for _, n := range l.Notes {
		if size += len(n); size < most+3000 {
			fmt.Fprintf(b, "    Note over %s: %s\n", all, mermaid(n))
		}
	}
	return b.Flush()
}

func (l *Ladder) mermaidRow(r *Row, all string) string {
	s := r.Segment
	switch {
	case r.Kind == ArriveRow && s.Out >= 0:
		return ""
	case s != nil && (s.From >= 0 || s.To >= 0):
		from, to, arrow := s.From, s.To, "->>"
		if from < 0 {
			from, arrow = l.other(to), "-->>"
		}
		if to < 0 {
			to = from
		}
		if s.Lost {
			arrow = "-x"
		} else if s.In < 0 {
			arrow = "-->>"
		}
		return fmt.Sprintf("    h%d%sh%d: %s\n", from, arrow, to, mermaid(s.Label))
	case r.Kind == StepRow:
		return fmt.Sprintf("    Note over %s: %s\n", all, mermaid(fmt.Sprintf("%s step %d: %s", r.Mark, r.Step, r.Text)))
	case r.Host < 0:
		return fmt.Sprintf("    Note over %s: %s\n", all, mermaid(r.Text))
	}
	text := r.Text
	if r.Bad && r.Kind == CallRow {
		text = "✗ " + text
	}
	return fmt.Sprintf("    Note over h%d: %s\n", r.Host, mermaid(text))
}

// mermaid writes what its syntax would take for markup as entity codes.
func mermaid(s string) string {
	var b strings.Builder
	for _, c := range fit(s, 160) {
		switch {
		case c > 0x7f, c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', strings.ContainsRune(" .,_-()[]=/!?+'|", c):
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, "#%d;", c)
		}
	}
	if b.Len() == 0 {
		return "-"
	}
	return b.String()
}
