package ladder

import "math"

// arrow draws a segment from where it left to where it arrived. On one host it
// goes out to the loopback and comes back. Where it comes from the sheet before, its
// label stands there.
func (d *drawing) arrow(s *Segment, labelled bool) {
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
		d.loop(s, labelled, x0, y0, y1)
		return
	}
	if d.narrow { // its label is above its line
		y0 += d.rowHeight * .3
		y1 = max(y1, y0+2)
	}
	class := "wire"
	if s.In < 0 { // half the way, then a cross or nothing
		x1, y1 = x0+(x1-x0)*.6, y0+d.rowHeight*.6
	} else if s.Out < 0 {
		x0, y0, class = x0+(x1-x0)*.4, y1-d.rowHeight*.6, "wire guess"
	}
	if s.In < 0 && !s.Lost {
		class = "wire guess"
	}
	if d.narrow && row1 > row0+1 { // what else happens meanwhile stands between the hosts
		d.late(s, class, x0, y0, x1, y1)
	} else {
		d.printf(`<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, num(x0), num(y0), num(x1), num(y1))
		if s.Lost {
			d.printf(`<path class="cross" d="M%s %sl12 12m0-12l-12 12"/>`, num(x1-6), num(y1-6))
		} else {
			d.tip(x1, y1, math.Atan2(y1-y0, x1-x0))
		}
	}
	switch {
	case !labelled:
	case d.narrow:
		d.narrowArrowLabel(s, from, d.y(row0))
	default:
		d.arrowLabel(s, row1 == row0+1, x0, y0, x1, y1)
	}
}

func (d *drawing) tip(x, y, angle float64) {
	d.printf(`<path class="tip" d="M%s %sL%s %sL%s %sZ"/>`, num(x), num(y),
		num(x-10*math.Cos(angle-.35)), num(y-10*math.Sin(angle-.35)), num(x-10*math.Cos(angle+.35)), num(y-10*math.Sin(angle+.35)))
}

// late is the arrow of the narrow layout for a segment that others overtake, or
// while whose way something else happens: across in its own row, then down beside
// the host that it reaches.
func (d *drawing) late(s *Segment, class string, x0, y0, x1, y1 float64) {
	way := math.Copysign(1, x1-x0)
	turn := x1 - way*gutter*.6
	d.printf(`<path class="%s" d="M%s %sL%s %sV%sL%s %s"/>`, class, num(x0), num(y0), num(turn), num(y0+3), num(y1-4), num(x1), num(y1))
	d.tip(x1, y1, math.Atan2(4, x1-turn))
}

// arrowLabel writes a segment's label along its arrow, at the sender's end so
// that the labels of arrows that cross stay apart. Where anything happens while it
// is under way, the label is level and has its row for itself.
func (d *drawing) arrowLabel(s *Segment, alone bool, x0, y0, x1, y1 float64) {
	text := esc(fit(s.label(int((wireWidth-24)/(d.char*.93))), 40))
	lead := 12.0
	slope := (y1 - y0) / math.Abs(x1-x0)
	class, way := "", 1.0
	if x1 < x0 {
		class, way = " r", -1
	}
	if !alone {
		d.printf(`<text class="flags%s" x="%s" y="%s">%s</text>`, class, num(x0+way*lead), num(y0-3), text)
		return
	}
	d.printf(`<text class="flags%s" transform="translate(%s %s) rotate(%s)">%s</text>`, class, num(x0+way*lead), num(y0+slope*lead-4),
		num(math.Atan(slope)*180/math.Pi*way), text)
}

// narrowArrowLabel writes it above the arrow, beside the time.
func (d *drawing) narrowArrowLabel(s *Segment, from int, y float64) {
	class, x := "flags", d.lanes[0].label
	if from == 1 {
		class, x = "flags r", d.lanes[1].label
	}
	d.printf(`<text class="%s" x="%s" y="%s">%s</text>`, class, num(x), num(y+4), esc(s.label(d.between()-clockChars)))
}

// label is what says of a segment as much as n characters can.
func (s *Segment) label(n int) string {
	if cells(s.Label) <= n {
		return s.Label
	}
	return fit(s.Short, n)
}

// loop is the way of a segment over the loopback. Its label has the row in which it
// left for itself.
func (d *drawing) loop(s *Segment, labelled bool, x, y0, y1 float64) {
	out, room := 34.0, 31
	if d.narrow {
		out, room = gutter-2, d.between()-clockChars
	}
	if s.In < 0 || s.Out < 0 {
		d.printf(`<line class="wire" x1="%s" y1="%s" x2="%s" y2="%s"/>`, num(x), num(y0), num(x+out), num(y0))
		if s.Lost {
			d.printf(`<path class="cross" d="M%s %sl12 12m0-12l-12 12"/>`, num(x+out-6), num(y0-6))
		}
	} else {
		d.printf(`<path class="wire" d="M%s %sC%s %s %s %s %s %s"/><path class="tip" d="M%s %sl10 -5v8z"/>`, num(x), num(y0), num(x+out), num(y0), num(x+out), num(y1), num(x), num(y1),
			num(x), num(y1))
	}
	if labelled {
		d.printf(`<text class="flags" x="%s" y="%s">%s</text>`, num(x+out+2), num(y0+4), esc(s.label(room)))
	}
}
