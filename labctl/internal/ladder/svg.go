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

// drawing is an SVG being written.
type drawing struct {
	*Ladder
	measures
	narrow bool
	// id stands before the ids of step titles, which lead to the page's elements
	// step-1, step-2 ... It is empty in a file of its own.
	id    string
	b     bytes.Buffer
	lanes []laneBox
	width float64
	head  float64 // height of what is above the rows
	sheet float64 // height of a sheet at most, 0 in a file of its own
	lines [][]string
	tops  []float64 // of rows, and the end of the last one
}

func (l *Ladder) drawing(m measures, slim bool, id string) *drawing {
	d := &drawing{Ladder: l, measures: m, narrow: slim, id: id, head: 64}
	d.place()
	if slim {
		most := 1
		for _, h := range l.Hosts {
			most = max(most, min(len(h.Addresses), mostAddresses))
		}
		d.head = 30 + float64(most)*d.line
	}
	d.fill()
	return d
}

// SVG writes the ladder as a file of its own, styles included.
func (l *Ladder) SVG(w io.Writer) error {
	d := l.drawing(wide, false, "")
	all := d.whole()
	foot := d.footer()
	height := all.bottom + float64(len(foot)+2)*d.line
	d.printf(`<svg xmlns="http://www.w3.org/2000/svg" class="ladder" viewBox="0 0 %s %s" width="%s" height="%s" role="img" aria-label="%s">`+"\n<style>%s</style>\n",
		num(d.width), num(height), num(d.width), num(height), esc("Time sequence diagram: "+l.Title), style)
	d.printf(`<rect class="paper" width="%s" height="%s"/>`+"\n", num(d.width), num(height))
	d.draw(all)
	d.printf("<g class=\"foot\">\n")
	for i, line := range foot {
		d.printf(`<text%s x="%s" y="%s">%s</text>`+"\n", line.attribute(), num(d.margin), num(all.bottom+float64(i+1)*d.line), esc(line.text))
	}
	d.printf("</g>\n</svg>\n")
	_, err := w.Write(d.b.Bytes())
	return err
}

// sheetWidth and sheetHeight are what a sheet of paper has that lies across, in pixels,
// with room for a heading.
const sheetWidth, sheetHeight = 1047.0, 620.0

// manySheets is from when on a browser draws only the sheets that are in sight: a page
// of thousands of rows is slow otherwise.
const manySheets = 30

// Figure is the ladder as elements for a page that has Style, for wide screens and
// for paper: images one below the other, none higher than a sheet. Its step titles
// lead to the page's elements step-1, step-2 ..., and are called ladder-step-1 ...
func (l *Ladder) Figure() string {
	d := l.drawing(wide, false, "ladder-")
	return d.figure(sheetHeight * max(1, d.width/sheetWidth))
}

// Narrow is the same for narrow screens. Its step titles are called
// narrow-step-1 ...
func (l *Ladder) Narrow() string { return l.drawing(narrow, true, "narrow-").figure(900) }

func (d *drawing) figure(most float64) string {
	class := "ladder"
	if d.narrow {
		class += " narrow"
	}
	d.sheet = most
	sheets := d.sheets()
	far := ""
	if len(sheets) > manySheets {
		far = " far"
	}
	for i, s := range sheets {
		d.printf("<div class=\"sheet%s\" style=\"--width: %s; --height: %s\">\n", far, num(d.width), num(s.bottom-s.top))
		if i > 0 && !d.narrow { // whose lanes these are, on paper
			d.printf(`<svg class="ladder again" viewBox="0 0 %s %s" aria-hidden="true"><rect class="paper" width="%s" height="%s"/>`+"\n", num(d.width), num(d.head), num(d.width), num(d.head))
			d.heads(sheet{top: 0, bottom: d.head})
			d.printf("</svg>\n")
		}
		d.printf(`<svg class="%s" viewBox="0 %s %s %s" role="group" aria-label="%s">`+"\n", class, num(s.top), num(d.width), num(s.bottom-s.top), esc(fmt.Sprintf("Events %d to %d", s.from+1, s.to)))
		d.printf(`<rect class="paper" y="%s" width="%s" height="%s"/>`+"\n", num(s.top), num(d.width), num(s.bottom-s.top))
		d.draw(s)
		d.printf("</svg>\n</div>\n")
	}
	return d.b.String()
}

// draw draws what a sheet shows.
func (d *drawing) draw(s sheet) {
	d.heads(s)
	d.bands(s)
	d.bars(s)
	d.printf("<g class=\"rows\">\n")
	for i := range d.Rows {
		switch f := d.Rows[i].Segment; {
		case i >= s.from && i < s.to:
			d.row(i)
		case f != nil && f.Out == i && i < s.from && f.In >= s.from: // under way from the sheet before
			d.printf(`<g class="again"%s>`, data(d.Rows[i].Sockets, nil))
			d.arrow(f, false)
			d.printf("</g>\n")
		}
	}
	d.printf("</g>\n")
}

func (d *drawing) printf(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

func esc(s string) string { return html.EscapeString(s) }

// num writes a coordinate with at most one digit after the point.
func num(x float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0")
}

// y is the middle of a row's first line.
func (d *drawing) y(row int) float64 { return d.tops[row] + d.rowHeight/2 }

// mostAddresses bounds how many addresses stand below a host's name.
const mostAddresses = 3

// heads draws the lanes of a sheet, and on the first one whose they are.
func (d *drawing) heads(s sheet) {
	for i := range d.Hosts {
		box := d.lanes[i]
		top := s.top
		if top == 0 {
			top = min(8, d.head)
		}
		d.printf(`<rect class="lane" x="%s" y="%s" width="%s" height="%s"/>`+"\n", num(box.left), num(top), num(box.right-box.left), num(s.bottom-top))
		if from := max(d.head, s.top); s.bottom > from {
			d.printf(`<line class="edge" x1="%s" x2="%s" y1="%s" y2="%s"/>`+"\n", num(box.edge), num(box.edge), num(from), num(s.bottom))
		}
	}
	if s.top > 0 {
		return
	}
	if !d.narrow {
		d.printf(`<text class="time" x="%s" y="%s">time in s</text>`+"\n", num(d.margin), num(d.head-14))
	}
	for i, h := range d.Hosts {
		box := d.lanes[i]
		at, class, room := box.left+10, "", labelChars
		switch {
		case d.narrow:
			at, room = d.margin+4, int(d.width/d.char)/max(1, len(d.Hosts))-2
			if box.way > 0 {
				at, class = d.width-d.margin-4, " l"
			}
		case box.way > 0:
			at = box.label + 4
		}
		d.printf(`<text class="host%s" x="%s" y="%s">%s</text>`, class, num(at), num(d.head*.42), esc(fit(h.Name, room*2/3)))
		if d.narrow {
			for k, a := range h.Addresses[:min(len(h.Addresses), mostAddresses)] {
				d.printf(`<text class="soft%s" x="%s" y="%s">%s</text>`, class, num(at), num(30+float64(k)*d.line+8), esc(fit(a, room)))
			}
			continue
		}
		d.printf(`<text class="soft" x="%s" y="48">%s</text>`, num(at), esc(fit(strings.Join(h.Addresses, ", "), room-1)))
		d.printf(`<text class="col" x="%s" y="%s">sockets</text>`+"\n", num((box.edge+box.label)/2), num(d.head-4))
	}
}

// bands set the steps apart.
func (d *drawing) bands(s sheet) {
	for i := s.from; i < s.to; i++ {
		if d.Rows[i].Kind == StepRow {
			d.printf(`<rect class="band" x="0" y="%s" width="%s" height="%s"/>`+"\n", num(d.tops[i]), num(d.width), num(d.tops[i+1]-d.tops[i]))
		}
	}
}

// mostNamed bounds how many sockets are listed below the picture.
const mostNamed = 60

// footLine is a line below the picture. Socket is an index, or -1.
type footLine struct {
	class, text string
	socket      int
}

func (f footLine) attribute() string {
	if f.socket >= 0 {
		return data([]int{f.socket}, nil)
	}
	return fmt.Sprintf(` class="%s"`, f.class)
}

// Key is what is to be read below the figures, as a list: what the names, colours
// and lines mean, and what was not recorded.
func (l *Ladder) Key() string {
	var b strings.Builder
	b.WriteString("<ul class=\"lad-key\">\n")
	for _, line := range l.key() {
		fmt.Fprintf(&b, "<li%s>%s</li>\n", line.attribute(), esc(line.text))
	}
	b.WriteString("</ul>\n")
	return b.String()
}

func (l *Ladder) key() []footLine {
	var all []footLine
	for _, n := range l.Notes {
		all = append(all, footLine{"warn", n, -1})
	}
	for i, s := range l.Sockets {
		if i == mostNamed {
			all = append(all, footLine{"soft", fmt.Sprintf("and %d more sockets", len(l.Sockets)-mostNamed), -1})
			break
		}
		all = append(all, footLine{"", socketLine(l, s), i})
	}
	return append(all, footLine{"soft", "Solid: recorded as it happened. Dashed: worked out from segments, or seen in socket tables. Dotted: no state known.", -1},
		footLine{"soft", "Every row is one event, so distance is not time. Sequence numbers count from the start of each connection.", -1})
}

// footer is the key as lines of the drawing, and where it comes from.
func (d *drawing) footer() []footLine {
	var all []footLine
	room := int((d.width - 3*d.margin) / d.char)
	for _, line := range append(d.key(), footLine{"soft", strings.Join(append([]string{d.Title}, d.Facts...), " · "), -1}) {
		for rest := line.text; rest != ""; {
			var first string
			first, rest = split(rest, room)
			all = append(all, footLine{line.class, first, line.socket})
		}
	}
	return all
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
