package ladder

import (
	"bytes"
	_ "embed"
	"fmt"
	"html"
	"io"
	"strings"
)

//go:embed ladder.css
var style string

//go:embed ladder.js
var script string

// Style is the style sheet of the inline SVG, light, dark and on paper.
func Style() string { return style }

// Script is what a page may run beside the inline SVGs: zoom, a filter by
// socket, and details by pointer and keyboard. The picture needs none of it.
func Script() string { return script }

// Measures of the drawing in its own units, pixels at zoom 1. All its text is of
// fixed width, so that what fits is known.
const (
	rowHeight   = 21.0
	headHeight  = 64.0
	timeWidth   = 78.0
	charWidth   = 6.65 // of the 11 px of most text
	labelChars  = 52
	labelWidth  = labelChars*charWidth + 8
	processStep = 12.0
	socketStep  = 24.0
	barWidth    = 17.0
	wireWidth   = 260.0
	margin      = 10.0
)

// laneBox is where a host's things are drawn. Its way is -1 in the left lane, whose
// labels are left of its bars, and +1 in the right one.
type laneBox struct {
	way                  float64
	label                float64 // x of the labels' end towards the bars
	processes, sockets   float64 // x of the middle of the first column
	edge                 float64 // x where segments leave
	left, right          float64
	nProcesses, nSockets int
}

// drawing is an SVG being written.
type drawing struct {
	*Ladder
	b      bytes.Buffer
	lanes  []laneBox
	width  float64
	inline bool
}

// SVG writes the ladder as a file of its own, styles included.
func (l *Ladder) SVG(w io.Writer) error {
	_, err := w.Write(l.draw(false))
	return err
}

// Figure is the ladder as an element for a page that has Style. Its step titles
// lead to the page's elements step-1, step-2 ...
func (l *Ladder) Figure() string { return string(l.draw(true)) }

func (l *Ladder) draw(inline bool) []byte {
	d := &drawing{Ladder: l, inline: inline}
	d.place()
	body := d.y(len(l.Rows)) + 8
	foot := d.footer()
	height := body + float64(len(foot)+2)*rowHeight
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" class="ladder" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="Time sequence diagram: %s">`+"\n",
		num(d.width), num(height), num(d.width), num(height), esc(l.Title))
	if !inline {
		d.printf("<style>%s</style>\n", style)
	}
	d.printf(`<rect class="paper" width="%s" height="%s"/>`+"\n", num(d.width), num(height))
	d.head(body)
	d.bands()
	d.bars()
	d.printf("<g class=\"rows\">\n")
	for i := range l.Rows {
		d.row(i)
	}
	d.printf("</g>\n<g class=\"foot\">\n")
	for i, line := range foot {
		d.printf(`<text x="%s" y="%s"%s>%s</text>`+"\n", num(margin), num(body+float64(i+1)*rowHeight), line.attr, line.markup)
	}
	d.printf("</g>\n</svg>\n")
	return d.b.Bytes()
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

func esc(s string) string { return html.EscapeString(s) }

// num writes a coordinate with at most one digit after the point.
func num(x float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0")
}

// y is the middle of a row.
func (d *drawing) y(row int) float64 { return headHeight + (float64(row)+.5)*rowHeight }

// place lays out the lanes from left to right.
func (d *drawing) place() {
	x := timeWidth + margin
	hosts := max(1, len(d.Hosts))
	wire := 60.0 // nothing crosses it
	for i := range d.Rows {
		if d.Rows[i].Segment != nil {
			wire = wireWidth
			break
		}
	}
	for i := range hosts {
		box := laneBox{way: -1, nProcesses: 1, nSockets: 1, left: x}
		for _, p := range d.Processes {
			if p.Host == i {
				box.nProcesses = max(box.nProcesses, p.column+1)
			}
		}
		for _, s := range d.Sockets {
			if s.Host == i {
				box.nSockets = max(box.nSockets, s.column+1)
			}
		}
		p, s := float64(box.nProcesses)*processStep, float64(box.nSockets)*socketStep
		if i == 0 {
			box.label = x + labelWidth
			box.processes = box.label + processStep/2 + 4
			box.sockets = box.label + 6 + p + socketStep/2
			box.edge = box.label + 6 + p + s + 6
			x = box.edge + wire
			box.right = box.edge
		} else {
			box.way = 1
			box.edge = x
			box.sockets = x + 6 + socketStep/2
			box.processes = x + 6 + s + processStep/2 + 2
			box.label = x + 6 + s + p + 6
			x = box.label + labelWidth
			box.right = x
		}
		d.lanes = append(d.lanes, box)
	}
	d.width = x + margin
}

// socketX is the middle of a socket's bar; false if it has none.
func (d *drawing) socketX(s *Socket) (float64, bool) {
	if s.Host < 0 || s.First < 0 || s.column < 0 {
		return 0, false
	}
	return d.lanes[s.Host].sockets + float64(s.column)*socketStep, true
}

func (d *drawing) processX(p *Process) (float64, bool) {
	if p == nil || p.Host < 0 || p.First < 0 || p.column < 0 {
		return 0, false
	}
	return d.lanes[p.Host].processes + float64(p.column)*processStep, true
}

func (d *drawing) head(body float64) {
	d.printf(`<text class="time" x="%s" y="%s">time in s</text>`+"\n", num(margin), num(headHeight-14))
	for i, h := range d.Hosts {
		box := d.lanes[i]
		d.printf(`<rect class="lane" x="%s" y="8" width="%s" height="%s"/>`+"\n", num(box.left), num(box.right-box.left), num(body-8))
		at := box.left + 10
		if box.way > 0 {
			at = box.label + 4
		}
		d.printf(`<text class="host" x="%s" y="30">%s</text>`, num(at), esc(fit(h.Name, 30)))
		d.printf(`<text class="soft" x="%s" y="48">%s</text>`+"\n", num(at), esc(fit(strings.Join(h.Addresses, ", "), labelChars)))
		d.printf(`<line class="edge" x1="%s" x2="%s" y1="%s" y2="%s"/>`+"\n", num(box.edge), num(box.edge), num(headHeight), num(body))
		d.printf(`<text class="col" x="%s" y="%s">sockets</text>`+"\n", num(box.sockets+float64(box.nSockets-1)*socketStep/2), num(headHeight-14))
	}
}

// bands set the steps apart.
func (d *drawing) bands() {
	n := 0
	for i, r := range d.Rows {
		if r.Kind != StepRow {
			continue
		}
		n++
		d.printf(`<rect class="band" x="0" y="%s" width="%s" height="%s"/>`+"\n", num(d.y(i)-rowHeight/2), num(d.width), num(rowHeight))
	}
}

// stateClass is the class of a state's colour.
func stateClass(state string) string {
	switch state {
	case "LISTEN", "BOUND", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "CLOSE_WAIT", "TIME_WAIT":
		return "st-" + strings.ToLower(strings.ReplaceAll(state, "_", "-"))
	case "FIN_WAIT1", "FIN_WAIT2", "CLOSING", "LAST_ACK":
		return "st-closing"
	case "":
		return "st-none"
	}
	return "st-other"
}

func (d *drawing) bars() {
	d.printf("<g class=\"bars\">\n")
	for _, p := range d.Processes {
		x, ok := d.processX(p)
		if !ok {
			continue
		}
		d.printf(`<g><title>%s</title><rect class="process" x="%s" y="%s" width="4" height="%s"/>`, esc(fmt.Sprintf("%s, process %d", p.Program, p.PID)),
			num(x-2), num(d.y(p.First)), num(max(2, d.y(p.Last)-d.y(p.First))))
		if p.Ended {
			d.printf(`<rect class="process" x="%s" y="%s" width="10" height="3"/>`, num(x-5), num(d.y(p.Last)-1))
		}
		d.printf("</g>\n")
	}
	for i, s := range d.Sockets {
		x, ok := d.socketX(s)
		if !ok {
			continue
		}
		d.printf(`<g data-s="%d"><title>%s</title>`, i, esc(socketLine(d.Ladder, s)))
		for _, p := range s.Spans {
			d.span(x, p)
		}
		// The name stands on a patch of its own above the bar.
		d.printf(`<text class="name" x="%s" y="%s">%s</text>`, num(x), num(d.y(s.First)-rowHeight/2+4), esc(s.Name))
		if s.Ended {
			d.printf(`<line class="end" x1="%s" x2="%s" y1="%s" y2="%s"/>`, num(x-barWidth/2), num(x+barWidth/2), num(d.y(s.Last)), num(d.y(s.Last)))
		}
		d.printf("</g>\n")
	}
	d.printf("</g>\n")
}

func (d *drawing) span(x float64, p Span) {
	top, bottom := d.y(p.From), d.y(p.To)
	if p.State == "" || p.State == "CLOSE" {
		if bottom > top {
			d.printf(`<line class="unknown" x1="%s" x2="%s" y1="%s" y2="%s"/>`, num(x), num(x), num(top), num(bottom))
		}
		return
	}
	if bottom == top { // a look: the state at this moment
		top, bottom = top-rowHeight/2+2, bottom+rowHeight/2-2
	}
	sure := ""
	if !p.Sure {
		sure = " guess"
	}
	d.printf(`<rect class="bar %s%s" x="%s" y="%s" width="%s" height="%s"/>`, stateClass(p.State), sure, num(x-barWidth/2), num(top), num(barWidth), num(bottom-top))
	// Its name from top to bottom where there is room, again and again in a
	// long one.
	long := float64(len(p.State))*6.1 + 8
	for at := top + 6; at+long <= bottom; at += 26 * rowHeight {
		d.printf(`<text class="state%s" transform="translate(%s %s) rotate(90)">%s</text>`, sure, num(x-3.4), num(at), esc(p.State))
	}
}

// sockets of a row as its attribute for the filter.
func attribute(sockets, more []int) string {
	var names []string
	for _, s := range append(append([]int(nil), sockets...), more...) {
		names = append(names, fmt.Sprint(s))
	}
	if names == nil {
		return ""
	}
	return fmt.Sprintf(` data-s="%s"`, strings.Join(names, " "))
}

var kindClass = [...]string{StepRow: "step", CallRow: "call", ProcessRow: "proc", OutputRow: "out", StateRow: "change", LookRow: "look",
	HolderRow: "holder", SegmentRow: "seg", ArriveRow: "seg", HostRow: "host", FoldRow: "fold", NoteRow: "note", ResetRow: "reset"}

func (d *drawing) row(i int) {
	r := &d.Rows[i]
	y := d.y(i)
	class := kindClass[r.Kind]
	if r.Bad {
		class += " bad"
	}
	if r.Kind == StepRow {
		d.stepRow(r, y)
		return
	}
	d.printf(`<g class="r %s" data-n="%d"%s><title>%s</title>`, class, r.N, attribute(r.Sockets, r.Holders), esc(rowTitle(r)))
	if r.Kind == FoldRow {
		d.printf(`<rect class="gap" x="%s" y="%s" width="%s" height="%s"/><text x="%s" y="%s">%s</text></g>`+"\n", num(timeWidth), num(y-rowHeight/2+2),
			num(d.width-timeWidth-margin), num(rowHeight-4), num(d.width/2), num(y+4), esc(r.Text))
		return
	}
	d.printf(`<rect class="hit" x="0" y="%s" width="%s" height="%s"/><text class="time" x="%s" y="%s">%s</text>`, num(y-rowHeight/2), num(d.width), num(rowHeight),
		num(margin), num(y+4), clock(r.T))
	switch {
	case r.Kind == SegmentRow || r.Kind == ArriveRow:
		if r.Kind == SegmentRow || r.Segment.Out < 0 {
			d.arrow(r.Segment)
		}
	case r.Host < 0:
		d.printf(`<text x="%s" y="%s">%s</text>`, num(timeWidth+margin), num(y+4), esc(fit(r.Text, int((d.width-timeWidth-3*margin)/charWidth))))
	default:
		d.label(r, y)
	}
	d.printf("</g>\n")
}

func rowTitle(r *Row) string {
	text := fmt.Sprintf("#%d +%s s %s", r.N, clock(r.T), r.Text)
	if r.Kind == FoldRow {
		return r.Text
	}
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	return text
}

func (d *drawing) stepRow(r *Row, y float64) {
	class := "r step"
	if r.Bad {
		class += " bad"
	}
	open, end := "", ""
	if d.inline {
		open, end = fmt.Sprintf(`<a href="#step-%d">`, r.Step), "</a>"
	}
	d.printf(`<g class="%s" id="ladder-step-%d" data-n="%d"><title>%s</title>%s<text x="%s" y="%s">%s %d  %s</text>%s`, class, r.Step, r.N, esc(rowTitle(r)), open,
		num(margin), num(y+4), esc(r.Mark), r.Step, esc(fit(r.Text, 100)), end)
	d.printf(`<text class="l soft" x="%s" y="%s">%s</text></g>`+"\n", num(d.width-margin), num(y+4), clock(r.T))
}

// label writes what happened beside the bars, and leads to the one it happened
// to.
func (d *drawing) label(r *Row, y float64) {
	box := d.lanes[r.Host]
	anchor := ""
	if box.way < 0 {
		anchor = ` class="l"`
	}
	d.printf(`<text%s x="%s" y="%s">%s</text>`, anchor, num(box.label+box.way*4), num(y+4), esc(fitEnds(r.Text, labelChars)))
	target, ok := d.processX(r.Process)
	if !ok && len(r.Sockets) > 0 {
		target, ok = d.socketX(d.Sockets[r.Sockets[0]])
	}
	if ok {
		d.printf(`<line class="lead" x1="%s" x2="%s" y1="%s" y2="%s"/>`, num(box.label), num(target), num(y), num(y))
		switch r.Kind {
		case CallRow:
			d.printf(`<circle class="mark" cx="%s" cy="%s" r="4"/>`, num(target), num(y))
		case StateRow:
			d.printf(`<circle class="turn" cx="%s" cy="%s" r="3"/>`, num(target), num(y))
		case ProcessRow, LookRow, HolderRow, ResetRow:
			d.printf(`<rect class="mark" x="%s" y="%s" width="6" height="6"/>`, num(target-3), num(y-3))
		}
	}
	for _, h := range r.Holders {
		if x, has := d.socketX(d.Sockets[h]); has && ok {
			d.printf(`<line class="holds" x1="%s" x2="%s" y1="%s" y2="%s"/><circle class="held" cx="%s" cy="%s" r="6"/>`,
				num(target), num(x), num(y), num(y), num(x), num(y))
		}
	}
}

// mostNamed bounds how many sockets are listed below the picture.
const mostNamed = 60

type footLine struct{ attr, markup string }

// footer are the lines below the picture: what the names, colours and lines
// mean, and what was not recorded.
func (d *drawing) footer() []footLine {
	var lines []footLine
	wide := int((d.width - 3*margin) / charWidth)
	for _, n := range d.Notes {
		for rest := n; rest != ""; {
			var first string
			first, rest = split(rest, wide)
			lines = append(lines, footLine{` class="warn"`, esc(first)})
		}
	}
	for i, s := range d.Sockets {
		if i == mostNamed {
			lines = append(lines, footLine{"", fmt.Sprintf("and %d more sockets", len(d.Sockets)-mostNamed)})
			break
		}
		lines = append(lines, footLine{attribute([]int{i}, nil), esc(fit(socketLine(d.Ladder, s), wide))})
	}
	lines = append(lines, footLine{` class="soft"`, esc("Solid: recorded as it happened. Dashed: worked out from segments, or seen in socket tables. Dotted: no state known.")},
		footLine{` class="soft"`, esc("Every row is one event, so distance is not time. Sequence numbers count from the start of each connection.")})
	if facts := strings.Join(append([]string{d.Title}, d.Facts...), " · "); !d.inline {
		lines = append(lines, footLine{` class="soft"`, esc(fit(facts, wide))})
	}
	return lines
}

// socketLine says what a socket's name stands for.
func socketLine(l *Ladder, s *Socket) string {
	text := s.Name
	if s.Host >= 0 {
		text += " on " + l.Hosts[s.Host].Name
	}
	if s.Program != "" {
		text += ", " + s.Program
	}
	return fmt.Sprintf("%s: %s", text, ends(s))
}
