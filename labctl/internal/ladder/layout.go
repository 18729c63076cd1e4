package ladder

import "math"

// measures of a drawing, in its own units: pixels at zoom 1. All its text is of fixed
// width, so that what fits is known before anything is drawn.
type measures struct {
	rowHeight, line float64 // height of a row with one line, and of each further one
	char            float64 // width of a character of most text, a step title's is an eighth more
	small           float64 // width of a character of what stands in bars
	processStep     float64
	socketStep      float64
	bar             float64
	margin          float64
	most            int // lines of a row
}

// The two layouts. In the wide one, for a screen on a wall and for paper, what happened
// on a host stands outside of its bars; in the narrow one, for a phone, between the two
// hosts' bars, where the segments cross too.
var (
	wide   = measures{rowHeight: 24, line: 16, char: 7.86, small: 6.65, processStep: 13, socketStep: 27, bar: 19, margin: 10, most: 3}
	narrow = measures{rowHeight: 21, line: 14, char: 6.65, small: 5.5, processStep: 9, socketStep: 19, bar: 14, margin: 3, most: 5}
)

const (
	timeWidth   = 92.0 // the wide layout's column of times
	labelChars  = 40   // of a line beside the bars of the wide layout
	wireWidth   = 270.0
	narrowWidth = 360.0 // what a phone has
	narrowText  = 34    // characters between the bars that the narrow layout needs
	gutter      = 12.0  // between the text of the narrow layout and where segments arrive
)

// laneBox is where a host's things are drawn. Its way is -1 in the left lane, whose
// labels are left of its bars in the wide layout, and +1 in the right one.
type laneBox struct {
	way                  float64
	label                float64 // x of the labels' end towards the bars
	processes, sockets   float64 // x of the middle of the first column
	edge                 float64 // x where segments leave
	left, right          float64
	nProcesses, nSockets int
}

// columns counts the bars that stand side by side in a lane.
func (d *drawing) columns(lane int) (processes, sockets int) {
	processes, sockets = 1, 1
	for _, p := range d.Processes {
		if p.Host == lane {
			processes = max(processes, p.column+1)
		}
	}
	for _, s := range d.Sockets {
		if s.Host == lane {
			sockets = max(sockets, s.column+1)
		}
	}
	return processes, sockets
}

// crossed reports whether any segment is drawn.
func (d *drawing) crossed() bool {
	for i := range d.Rows {
		if d.Rows[i].Segment != nil {
			return true
		}
	}
	return false
}

// place lays out the lanes from left to right.
func (d *drawing) place() {
	if d.narrow {
		d.placeNarrow()
		return
	}
	x, wire := timeWidth+d.margin, 60.0 // nothing crosses it
	if d.crossed() {
		wire = wireWidth
	}
	labels := labelChars*d.char + 8
	for i := range max(1, len(d.Hosts)) {
		box := laneBox{way: -1, left: x}
		box.nProcesses, box.nSockets = d.columns(i)
		p, s := float64(box.nProcesses)*d.processStep, float64(box.nSockets)*d.socketStep
		if i == 0 {
			box.label = x + labels
			box.processes = box.label + d.processStep/2 + 4
			box.sockets = box.label + 6 + p + d.socketStep/2
			box.edge = box.label + 6 + p + s + 6
			box.right = box.edge
			x = box.edge + wire
		} else {
			box.way = 1
			box.edge = x
			box.sockets = x + 6 + d.socketStep/2
			box.processes = x + 6 + s + d.processStep/2 + 2
			box.label = x + 6 + s + p + 6
			x = box.label + labels
			box.right = x
		}
		d.lanes = append(d.lanes, box)
	}
	d.width = x + d.margin
}

// placeNarrow has the bars at both sides: processes outside, sockets inside.
func (d *drawing) placeNarrow() {
	var bars [mostLanes]float64
	sum := 2*d.margin + narrowText*d.char + 2*gutter
	for i := range max(1, len(d.Hosts)) {
		p, s := d.columns(i)
		bars[i] = float64(p)*d.processStep + float64(s)*d.socketStep + 4
		sum += bars[i]
	}
	d.width = max(narrowWidth, sum)
	for i := range max(1, len(d.Hosts)) {
		box := laneBox{way: -1, left: d.margin, right: d.margin + bars[i]}
		box.nProcesses, box.nSockets = d.columns(i)
		p := float64(box.nProcesses) * d.processStep
		if i == 0 {
			box.processes = box.left + d.processStep/2
			box.sockets = box.left + p + d.socketStep/2
			box.edge = box.right
			box.label = box.edge + gutter
		} else {
			box.way = 1
			box.left, box.right = d.width-d.margin-bars[i], d.width-d.margin
			box.edge = box.left
			box.sockets = box.edge + 4 + d.socketStep/2
			box.processes = box.right - p + d.processStep/2
			box.label = box.edge - gutter
		}
		d.lanes = append(d.lanes, box)
	}
}

// inner is where text stands in the narrow layout: between the bars.
func (d *drawing) inner() (left, right float64) {
	left, right = d.lanes[0].label, d.width-d.margin
	if len(d.lanes) > 1 {
		right = d.lanes[1].label
	}
	return left, right
}

// between is its width in characters.
func (d *drawing) between() int {
	left, right := d.inner()
	return int((right - left) / d.char)
}

// clockChars is how much a time takes of a line of the narrow layout, with a gap.
const clockChars = 11

// fill breaks each row's text into lines, and gives each row its height.
func (d *drawing) fill() {
	d.lines = make([][]string, len(d.Rows))
	d.tops = make([]float64, len(d.Rows)+1)
	y := d.head
	for i := range d.Rows {
		r := &d.Rows[i]
		d.lines[i] = d.broken(r)
		d.tops[i] = y
		y += d.rowHeight + float64(max(0, len(d.lines[i])-1))*d.line
	}
	d.tops[len(d.Rows)] = y
}

func (d *drawing) broken(r *Row) []string {
	full := int((d.width - 2*d.margin) / d.char)
	across := full
	if !d.narrow {
		across = int((d.width - timeWidth - 3*d.margin) / d.char)
	}
	switch {
	case r.Segment != nil:
		return nil
	case r.Kind == StepRow:
		n := full*7/8 - clockChars
		if d.narrow {
			n = d.between()*7/8 - clockChars
		}
		return lines(stepText(r), n, n, 3)
	case r.Kind == FoldRow:
		return lines(r.Text, across-2, across-2, 3)
	case d.narrow && r.Bad: // bold, which is wider in some fonts
		n := d.between() - 1
		return lines(r.Text, n-clockChars, n, d.most)
	case d.narrow:
		n := d.between()
		return lines(r.Text, n-clockChars, n, d.most)
	case r.Host < 0:
		return lines(r.Text, across, across, d.most)
	}
	return lines(r.Text, labelChars, labelChars, d.most)
}

// lines breaks a text into at most most lines, the first of at most first cells, the
// others of rest. Of a call that is too long the result is kept.
func lines(s string, first, rest, most int) []string {
	if room := first + (most-1)*rest; cells(s) > room*7/8 {
		s = fitEnds(s, room*7/8)
	}
	var all []string
	for n := first; ; n = rest {
		line, more := split(s, n)
		if len(all) == most-1 {
			return append(all, fit(s, n))
		}
		all = append(all, line)
		if s = more; s == "" {
			return all
		}
	}
}

// sheet is a part of the drawing that is an image of its own, so that a page of paper
// ends between two rows.
type sheet struct {
	from, to    int // rows
	top, bottom float64
}

// whole is the drawing as one sheet.
func (d *drawing) whole() sheet { return sheet{0, len(d.Rows), 0, d.tops[len(d.Rows)] + 8} }

// sheets cuts the drawing into parts about equally high, and no higher than a sheet:
// before a step where one is near, where no segment is under way, or else anywhere
// between two rows.
func (d *drawing) sheets() []sheet {
	under := make([]bool, len(d.Rows)+1) // a segment is under way from the row before, or its label is
	for i := range d.Rows {
		if s := d.Rows[i].Segment; s != nil && (s.Out == i || s.Out < 0) {
			for j := i; j <= max(i, s.In); j++ {
				under[j] = true
			}
		}
	}
	var all []sheet
	end := len(d.Rows)
	for from, top := 0, 0.0; from < end; {
		rest := d.tops[end] - top
		goal := rest / math.Ceil(rest/d.sheet)
		to, best := from+1, math.Inf(-1)
		for j := from + 1; j <= end && d.tops[j]-top <= d.sheet; j++ {
			worth := -math.Abs(d.tops[j] - top - goal)
			switch {
			case j == end:
				worth = math.Inf(1)
			case under[j]:
				worth -= 2 * d.sheet
			case d.Rows[j].Kind == StepRow && -worth < goal/4:
				worth += d.sheet
			}
			if worth >= best {
				to, best = j, worth
			}
		}
		bottom := d.tops[to]
		if to == end {
			bottom += 8
		}
		all = append(all, sheet{from, to, top, bottom})
		from, top = to, bottom
	}
	if len(all) == 0 {
		all = []sheet{d.whole()}
	}
	return all
}
