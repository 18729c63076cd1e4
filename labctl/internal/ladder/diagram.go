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
	const left, middle, right = 74, 225, 376
	return []stateBox{
		{"CLOSE", middle, 36}, {"LISTEN", middle, 148}, {"SYN_RECV", left, 264}, {"SYN_SENT", right, 264}, {"ESTABLISHED", middle, 376},
		{"FIN_WAIT1", left, 488}, {"CLOSE_WAIT", right, 488}, {"FIN_WAIT2", left, 600}, {"CLOSING", middle, 600}, {"LAST_ACK", right, 600},
		{"TIME_WAIT", middle, 712}, {"CLOSE", right, 712},
	}
}

const diagramWidth, diagramHeight, boxWidth, boxHeight = 450.0, 748.0, 110.0, 42.0

// edge is an arrow: what happens, and what is sent. Side moves it aside where one
// goes back the same way, to the right for one who goes along it if it is more than 0.
// Its label is beside it, to the right or the left, where at says of its way.
type edge struct {
	from, to int
	label    string
	side     float64
	hand     float64 // +1 right, -1 left
	at       float64
}

const rightHand, leftHand = +1, -1

func edges() []edge {
	return []edge{
		{0, 1, "listen()", 9, rightHand, .5}, {1, 0, "close()", 9, rightHand, .5}, {0, 3, "connect() / SYN", -36, leftHand, .5}, {3, 0, "close()", 20, leftHand, .4},
		{1, 2, "SYN / SYN,ACK", 8, rightHand, .5}, {2, 1, "RST", 8, rightHand, .5}, {1, 3, "send / SYN", 0, rightHand, .5}, {3, 2, "SYN / SYN,ACK", 0, rightHand, .5},
		{2, 4, "ACK", 0, leftHand, .5}, {3, 4, "SYN,ACK / ACK", 0, leftHand, .5}, {2, 5, "close() / FIN", 0, rightHand, .5}, {4, 5, "close() / FIN", 0, leftHand, .5},
		{4, 6, "FIN / ACK", 0, leftHand, .5}, {6, 9, "close() / FIN", 0, rightHand, .5}, {5, 7, "ACK", 0, rightHand, .5}, {5, 8, "FIN / ACK", 0, leftHand, .5},
		{5, 10, "FIN,ACK / ACK", 0, leftHand, .29}, {7, 10, "FIN / ACK", 0, rightHand, .5}, {8, 10, "ACK", 0, leftHand, .5}, {9, 11, "ACK", 0, rightHand, .5}, {10, 11, "2 MSL", 0, leftHand, .5},
	}
}

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
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" class="tcp" viewBox="0 0 %s %s" role="img" aria-label="%s"><rect class="paper" width="%s" height="%s"/>`,
		num(diagramWidth), num(diagramHeight), esc("State diagram of RFC 9293, the way of "+d.Caption), num(diagramWidth), num(diagramHeight))
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
	// Aside, so that the way back is beside it.
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
		// Along the arrow, and never upside down; level beside it if it is upright
		// and short.
		hand, turn := e.hand, angle
		x, y := x0+(x1-x0)*e.at, y0+(y1-y0)*e.at
		anchor, lift := "", "4"
		switch {
		case dx == 0 && long < 200:
			turn = 0
			x += -dy / long * hand * 6
			anchor = " start"
			if -dy*hand < 0 {
				anchor = " end"
			}
		default:
			x, y = x-dy/long*hand*8, y+dx/long*hand*8
			if dx <= 0 {
				turn += math.Pi
			}
			lift = "3.5"
		}
		fmt.Fprintf(b, `<text class="quiet%s" transform="translate(%s %s) rotate(%s)" y="%s">%s</text>`, anchor, num(x), num(y), num(math.Remainder(turn, 2*math.Pi)*180/math.Pi), lift, esc(e.label))
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
