package ladder

import (
	"fmt"
	"strings"
)

// data names the sockets of an element for the filter.
func data(sockets, more []int) string {
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
		d.stepRow(i, class)
		return
	}
	d.printf(`<g class="r %s" data-n="%d"%s><title>%s</title>`, class, r.N, data(r.Sockets, r.Holders), esc(rowTitle(r)))
	if r.Kind == FoldRow {
		left := d.margin
		if !d.narrow {
			left = timeWidth
		}
		right := d.width - d.margin
		d.printf(`<rect class="gap" x="%s" y="%s" width="%s" height="%s"/>`, num(left), num(d.tops[i]+2), num(right-left), num(d.tops[i+1]-d.tops[i]-4))
		d.text("", (left+right)/2, i, d.lines[i])
		d.printf("</g>\n")
		return
	}
	d.printf(`<rect class="hit" x="0" y="%s" width="%s" height="%s"/>`, num(d.tops[i]), num(d.width), num(d.tops[i+1]-d.tops[i]))
	if !d.narrow {
		d.printf(`<text class="time" x="%s" y="%s">%s</text>`, num(d.margin), num(y+4), clock(r.T))
	}
	switch {
	case r.Segment != nil:
		if d.narrow {
			d.narrowTime(r, i)
		}
		if r.Kind == SegmentRow || r.Segment.Out < 0 {
			d.arrow(r.Segment, true)
		}
	case r.Host < 0 && !d.narrow:
		d.across(i)
	default:
		d.label(i)
	}
	d.printf("</g>\n")
}

// across writes what is of no host over the whole width, and hides the bars behind it.
func (d *drawing) across(i int) {
	most := 0
	for _, line := range d.lines[i] {
		most = max(most, cells(line))
	}
	left := timeWidth + d.margin
	d.printf(`<rect class="patch" x="%s" y="%s" width="%s" height="%s"/>`, num(left), num(d.tops[i]), num(float64(most)*d.char+12), num(d.tops[i+1]-d.tops[i]))
	d.text("", left+6, i, d.lines[i])
}

// text writes the lines of a row.
func (d *drawing) text(class string, x float64, row int, lines []string) {
	if class != "" {
		class = fmt.Sprintf(` class="%s"`, class)
	}
	for k, line := range lines {
		d.printf(`<text%s x="%s" y="%s">%s</text>`, class, num(x), num(d.y(row)+4+float64(k)*d.line), esc(line))
	}
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

func stepText(r *Row) string { return fmt.Sprintf("%s %d  %s", r.Mark, r.Step, r.Text) }

func (d *drawing) stepRow(i int, class string) {
	r := &d.Rows[i]
	open, end, id := "", "", ""
	if d.id != "" {
		open, end, id = fmt.Sprintf(`<a href="#step-%d">`, r.Step), "</a>", fmt.Sprintf(` id="%sstep-%d"`, d.id, r.Step)
	}
	d.printf(`<g class="r %s"%s data-n="%d"><title>%s</title>%s`, class, id, r.N, esc(rowTitle(r)), open)
	left, right := d.margin, d.width-d.margin
	if d.narrow { // beside the bars
		left, right = d.inner()
	}
	d.text("", left, i, d.lines[i])
	d.printf(`%s<text class="l soft" x="%s" y="%s">%s</text></g>`+"\n", end, num(right), num(d.y(i)+4), clock(r.T))
}

// label writes what happened beside the bars, and leads to the one it happened
// to.
func (d *drawing) label(i int) {
	r, y := &d.Rows[i], d.y(i)
	box := d.lanes[max(0, r.Host)]
	if d.narrow {
		d.narrowLabel(box, i)
	} else {
		class := ""
		if box.way < 0 {
			class = "l"
		}
		d.text(class, box.label+box.way*4, i, d.lines[i])
	}
	target, ok := d.processX(r.Process)
	if !ok && len(r.Sockets) > 0 {
		target, ok = d.socketX(d.Sockets[r.Sockets[0]])
	}
	if ok {
		from := box.label
		if d.narrow { // the label has a gutter there
			from += box.way * 2
		}
		d.printf(`<line class="lead" x1="%s" x2="%s" y1="%s" y2="%s"/>`, num(from), num(target), num(y), num(y))
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

// narrowLabel writes a row's text on its host's side, its time on the other.
func (d *drawing) narrowLabel(box laneBox, i int) {
	class, other := "", "time l"
	near, far := d.inner()
	if box.way > 0 {
		class, other, far = "l", "time", near
	}
	d.text(class, box.label, i, d.lines[i])
	d.text(other, far, i, []string{clock(d.Rows[i].T)})
}

// narrowTime writes the time of a segment where its arrow leaves room: above it at the
// far end when it leaves, below it at the near end when it arrives.
func (d *drawing) narrowTime(r *Row, i int) {
	s := r.Segment
	from := s.From
	if from < 0 {
		from = d.other(s.To)
	}
	near, far := d.inner()
	if len(d.lanes) > 1 && from == 1 == (r.Kind == SegmentRow) {
		d.text("time", near, i, []string{clock(r.T)})
	} else {
		d.text("time l", far, i, []string{clock(r.T)})
	}
}
