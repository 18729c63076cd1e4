package ladder

import (
	"bytes"
	"fmt"
	"math"
	"strings"
)

// mostDiagrams bounds how many sockets have a state diagram of their own.
const mostDiagrams = 8

// Diagram is one socket's way through TCP's states.
type Diagram struct {
	// Caption says which socket, and who told its states.
	Caption string
	// SVG is an element for a page that has Style.
	SVG string
	// Path is the same in words.
	Path string
}

// stateBox is a box of the diagram of RFC 9293, section 3.3.2, figure 5. Its states
// have the names that Linux gives them.
type stateBox struct {
	name string
	x, y float64
}

func boxes() []stateBox {
	return []stateBox{
		{"CLOSE", 400, 36}, {"LISTEN", 400, 130}, {"SYN_RECV", 150, 220}, {"SYN_SENT", 650, 220}, {"ESTABLISHED", 400, 310},
		{"FIN_WAIT1", 150, 400}, {"CLOSE_WAIT", 650, 400}, {"FIN_WAIT2", 150, 500}, {"CLOSING", 400, 500}, {"LAST_ACK", 650, 500},
		{"TIME_WAIT", 400, 600}, {"CLOSE", 650, 600},
	}
}

// edge is an arrow: what happens, and what is sent. Side moves it aside where
// one goes back the same way; at is where on its way its label stands.
type edge struct {
	from, to int
	label    string
	side, at float64
}

func edges() []edge {
	return []edge{
		{0, 1, "listen()", 9, .5}, {1, 0, "close()", 9, .5}, {0, 3, "connect() / SYN", 9, .64}, {3, 0, "close()", 9, .72},
		{1, 2, "SYN / SYN,ACK", 8, .62}, {2, 1, "RST", 8, .72}, {1, 3, "send / SYN", 0, .5}, {3, 2, "SYN / SYN,ACK", 0, .36},
		{2, 4, "ACK", 0, .5}, {3, 4, "SYN,ACK / ACK", 0, .5}, {2, 5, "close() / FIN", 0, .5}, {4, 5, "close() / FIN", 0, .5},
		{4, 6, "FIN / ACK", 0, .5}, {6, 9, "close() / FIN", 0, .5}, {5, 7, "ACK", 0, .5}, {5, 8, "FIN / ACK", 0, .45},
		{5, 10, "FIN,ACK / ACK", 0, .62}, {7, 10, "FIN / ACK", 0, .45}, {8, 10, "ACK", 0, .5}, {9, 11, "ACK", 0, .5}, {10, 11, "2 MSL", 0, .5},
	}
}

const boxWidth, boxHeight = 112.0, 42.0

// Diagrams are the ways of the first sockets whose states anything tells.
func (l *Ladder) Diagrams() []Diagram {
	var all []Diagram
	for _, s := range l.Sockets {
		if len(s.Path) == 0 && len(s.marks) == 0 {
			continue
		}
		if len(all) == mostDiagrams {
			break
		}
		all = append(all, l.diagram(s))
	}
	return all
}

func (l *Ladder) diagram(s *Socket) Diagram {
	d := Diagram{Caption: socketLine(l, s)}
	been := map[int][]int64{} // box -> when it was entered, or seen
	taken := map[[2]int]bool{}
	var others [][2]int // transitions that the RFC's diagram has not
	sources := map[string]bool{}
	if len(s.Path) > 0 {
		d.Path = s.way()
		known := map[[2]int]bool{}
		for _, e := range edges() {
			known[[2]int{e.from, e.to}] = true
		}
		for i, p := range s.Path {
			from, to := box(p.From, false), box(p.To, p.From == "TIME_WAIT" || p.From == "LAST_ACK")
			sources[p.Source] = true
			if i == 0 && from >= 0 {
				been[from] = nil
			}
			if from < 0 || to < 0 {
				continue
			}
			been[to] = append(been[to], p.T)
			if way := [2]int{from, to}; !known[way] && !taken[way] {
				others = append(others, way)
			}
			taken[[2]int{from, to}] = true
		}
		d.Caption += " (source: " + strings.Join(keys(sources), ", ") + ")"
	} else {
		for _, m := range s.marks {
			if i := box(m.state, false); i >= 0 {
				been[i] = append(been[i], l.Rows[m.row].T)
			}
		}
		d.Caption += " (seen in socket tables; its changes were not recorded)"
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="tcp" viewBox="0 0 800 640" role="img" aria-label="%s"><rect class="paper" width="800" height="640"/>`,
		esc("State diagram of RFC 9293, the way of "+d.Caption))
	for _, high := range []bool{false, true} { // the way taken is drawn over the others
		for _, e := range edges() {
			if taken[[2]int{e.from, e.to}] == high {
				drawEdge(&b, e, map[bool]string{true: "taken"}[high])
			}
		}
	}
	for _, o := range others {
		drawEdge(&b, edge{from: o[0], to: o[1], at: .5}, "taken other")
	}
	for i, x := range boxes() {
		times, was := been[i]
		class, style := "", "box"
		if was {
			class, style = "been", stateClass(x.name)
		}
		fmt.Fprintf(&b, `<g class="%s"><rect class="%s" x="%s" y="%s" width="%s" height="%s" rx="6"/>`, class, style, num(x.x-boxWidth/2), num(x.y-boxHeight/2), num(boxWidth), num(boxHeight))
		y := x.y + 4
		if len(times) > 0 {
			y = x.y - 3
			when := "+" + clock(times[0]) + " s"
			if n := len(times); n > 1 && len(s.Path) > 0 {
				when += fmt.Sprintf(" (%d×)", n)
			}
			fmt.Fprintf(&b, `<text class="t" x="%s" y="%s">%s</text>`, num(x.x), num(x.y+12), when)
		}
		fmt.Fprintf(&b, `<text x="%s" y="%s">%s</text></g>`, num(x.x), num(y), x.name)
	}
	b.WriteString("</svg>")
	d.SVG = b.String()
	return d
}

// box is a state's box, -1 if it has none. CLOSE has two; the lower one is the
// end of a connection.
func box(state string, lower bool) int {
	for i, x := range boxes() {
		if x.name == state {
			if state == "CLOSE" && lower {
				return len(boxes()) - 1
			}
			return i
		}
	}
	return -1
}

func keys(m map[string]bool) []string {
	var names []string
	for _, k := range []string{"kernel", "sockdiag", "inferred"} {
		if m[k] {
			names = append(names, k)
		}
	}
	if len(names) == 0 {
		return []string{"unknown"}
	}
	return names
}

// drawEdge draws an arrow from border to border.
func drawEdge(b *bytes.Buffer, e edge, class string) {
	all := boxes()
	from, to := all[e.from], all[e.to]
	dx, dy := to.x-from.x, to.y-from.y
	long := math.Hypot(dx, dy)
	if long == 0 {
		return
	}
	// To the right of the way, so that the way back is beside it.
	ox, oy := -dy/long*e.side, dx/long*e.side
	// How far along the way, moved aside, the two boxes reach.
	leave, enter := reach(dx, dy, ox, oy), reach(dx, dy, -ox, -oy)+3/long
	x0, y0 := from.x+dx*leave+ox, from.y+dy*leave+oy
	x1, y1 := to.x-dx*enter+ox, to.y-dy*enter+oy
	angle := math.Atan2(dy, dx)
	tip := func(turn float64) string {
		return num(x1-9*math.Cos(angle+turn)) + " " + num(y1-9*math.Sin(angle+turn))
	}
	fmt.Fprintf(b, `<g class="%s"><line class="way" x1="%s" y1="%s" x2="%s" y2="%s"/><path class="tip" d="M%s %sL%sL%sZ"/>`, class, num(x0), num(y0), num(x1), num(y1), num(x1), num(y1), tip(.4), tip(-.4))
	if e.label != "" {
		x, y := x0+(x1-x0)*e.at, y0+(y1-y0)*e.at+4
		if dx == 0 { // beside an upright arrow, on its own side
			anchor := "middle"
			switch {
			case ox > 0:
				x, anchor = x+6, "start"
			case ox < 0:
				x, anchor = x-6, "end"
			}
			fmt.Fprintf(b, `<text class="quiet %s" x="%s" y="%s">%s</text></g>`, anchor, num(x), num(y), esc(e.label))
			return
		}
		fmt.Fprintf(b, `<text class="quiet" x="%s" y="%s">%s</text>`, num(x), num(y), esc(e.label))
	}
	b.WriteString("</g>")
}

// reach is where a line leaves a box: the line begins beside its middle, by ox
// and oy, and the part is of dx and dy.
func reach(dx, dy, ox, oy float64) float64 {
	part := math.Inf(1)
	if dx != 0 {
		part = math.Min(part, (math.Copysign(boxWidth/2, dx)-ox)/dx)
	}
	if dy != 0 {
		part = math.Min(part, (math.Copysign(boxHeight/2, dy)-oy)/dy)
	}
	return part
}
