package ladder

import "math"

// arrow draws a segment from where it left to where it arrived. On one host it
// goes out to the loopback and comes back.
func (d *drawing) arrow(s *Segment) {
	from, to := s.From, s.To
	if from < 0 && to < 0 {
		return
	}
	if from < 0 { // its leaving was not recorded: the arrow comes from nowhere
		from = d.other(to)
	}
	if to < 0 {
		to = from
	}
	row0, row1 := s.Out, s.In
	if row0 < 0 {
		row0 = row1
	}
	if row1 < 0 {
		row1 = row0
	}
	x0, y0, x1, y1 := d.lanes[from].edge, d.y(row0), d.lanes[to].edge, d.y(row1)
	if from == to {
		d.loop(s, x0, y0, y1)
		return
	}
	class := "wire"
	if s.In < 0 { // half the way, then a cross or nothing
		x1, y1 = x0+(x1-x0)*.6, y0+rowHeight*.6
	} else if s.Out < 0 {
		x0, y0, class = x0+(x1-x0)*.4, y1-rowHeight*.6, "wire guess"
	}
	if s.In < 0 && !s.Lost {
		class = "wire guess"
	}
	d.printf(`<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, num(x0), num(y0), num(x1), num(y1))
	angle := math.Atan2(y1-y0, x1-x0)
	if s.Lost {
		d.printf(`<path class="cross" d="M%s %sl12 12m0-12l-12 12"/>`, num(x1-6), num(y1-6))
	} else {
		d.printf(`<path class="tip" d="M%s %sL%s %sL%s %sZ"/>`, num(x1), num(y1),
			num(x1-10*math.Cos(angle-.35)), num(y1-10*math.Sin(angle-.35)), num(x1-10*math.Cos(angle+.35)), num(y1-10*math.Sin(angle+.35)))
	}
	d.arrowLabel(s, x0, y0, x1, y1)
}

// arrowLabel writes a segment's label along its arrow, at the sender's end so
// that the labels of arrows that cross stay apart. A steep arrow's is level.
func (d *drawing) arrowLabel(s *Segment, x0, y0, x1, y1 float64) {
	text := esc(fit(s.Label, 38))
	lead := 12.0
	slope := (y1 - y0) / math.Abs(x1-x0)
	class, way := "", 1.0
	if x1 < x0 {
		class, way = " r", -1
	}
	if math.Abs(slope) > .4 {
		d.printf(`<text class="flags%s" x="%s" y="%s">%s</text>`, class, num(x0+way*lead), num(y0-3), text)
		return
	}
	d.printf(`<text class="flags%s" transform="translate(%s %s) rotate(%s)">%s</text>`, class, num(x0+way*lead), num(y0+slope*lead-4),
		num(math.Atan(slope)*180/math.Pi*way), text)
}

func (d *drawing) loop(s *Segment, x, y0, y1 float64) {
	const out = 34.0
	if s.In < 0 || s.Out < 0 {
		d.printf(`<line class="wire" x1="%s" y1="%s" x2="%s" y2="%s"/>`, num(x), num(y0), num(x+out), num(y0))
		if s.Lost {
			d.printf(`<path class="cross" d="M%s %sl12 12m0-12l-12 12"/>`, num(x+out-6), num(y0-6))
		}
	} else {
		d.printf(`<path class="wire" d="M%s %sC%s %s %s %s %s %s"/><path class="tip" d="M%s %sl10 -5v8z"/>`, num(x), num(y0), num(x+out), num(y0), num(x+out), num(y1), num(x), num(y1),
			num(x), num(y1))
	}
	d.printf(`<text class="flags" x="%s" y="%s">%s</text>`, num(x+out+2), num((y0+y1)/2+4), esc(fit(s.Label, 34)))
}
