package ladder

import (
	"fmt"
	"strings"
)

// socketX is the middle of a socket's bar; false if it has none.
func (d *drawing) socketX(s *Socket) (float64, bool) {
	if s.Host < 0 || s.First < 0 || s.column < 0 {
		return 0, false
	}
	return d.lanes[s.Host].sockets + float64(s.column)*d.socketStep, true
}

func (d *drawing) processX(p *Process) (float64, bool) {
	if p == nil || p.Host < 0 || p.First < 0 || p.column < 0 {
		return 0, false
	}
	return d.lanes[p.Host].processes + float64(p.column)*d.processStep, true
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

// bars draws what of the processes and sockets is on a sheet.
func (d *drawing) bars(s sheet) {
	d.printf("<g class=\"bars\">\n")
	for _, p := range d.Processes {
		x, ok := d.processX(p)
		if !ok || p.First >= s.to || p.Last < s.from {
			continue
		}
		top, bottom := max(d.y(p.First), s.top), min(d.y(p.Last), s.bottom)
		d.printf(`<g><title>%s</title><rect class="process" x="%s" y="%s" width="4" height="%s"/>`, esc(fmt.Sprintf("%s, process %d", p.Program, p.PID)),
			num(x-2), num(top), num(max(2, bottom-top)))
		if p.Ended && p.Last < s.to {
			d.printf(`<rect class="process" x="%s" y="%s" width="10" height="3"/>`, num(x-5), num(d.y(p.Last)-1))
		}
		d.printf("</g>\n")
	}
	for i, k := range d.Sockets {
		x, ok := d.socketX(k)
		if !ok || k.First >= s.to || k.Last < s.from {
			continue
		}
		d.printf(`<g data-s="%d"><title>%s</title>`, i, esc(socketLine(d.Ladder, k)))
		for _, p := range k.Spans {
			if p.From < s.to && p.To >= s.from {
				d.span(x, p, s)
			}
		}
		if k.Ended && k.Last < s.to {
			d.printf(`<line class="end" x1="%s" x2="%s" y1="%s" y2="%s"/>`, num(x-d.bar/2), num(x+d.bar/2), num(d.y(k.Last)), num(d.y(k.Last)))
		}
		// The name stands on a patch of its own above the bar.
		if k.First >= s.from {
			d.printf(`<text class="name" x="%s" y="%s">%s</text>`, num(x), num(max(d.tops[k.First]+3, s.top+10)), esc(k.Name))
		}
		d.printf("</g>\n")
	}
	d.printf("</g>\n")
}

// span draws a state of the socket whose bar is at x.
func (d *drawing) span(x float64, p Span, s sheet) {
	top, bottom := d.y(p.From), d.y(p.To)
	if p.State == "" || p.State == "CLOSE" {
		if top, bottom = max(top, s.top), min(bottom, s.bottom); bottom > top {
			d.printf(`<line class="unknown" x1="%s" x2="%s" y1="%s" y2="%s"/>`, num(x), num(x), num(top), num(bottom))
		}
		return
	}
	if bottom == top { // a look: the state at this moment
		top, bottom = top-d.rowHeight/2+2, bottom+d.rowHeight/2-2
	}
	// An edge that is on another sheet is not drawn here.
	top, bottom = max(top, s.top-4), min(bottom, s.bottom+4)
	sure := ""
	if !p.Sure {
		sure = " guess"
	}
	d.printf(`<rect class="bar %s%s" x="%s" y="%s" width="%s" height="%s"/>`, stateClass(p.State), sure, num(x-d.bar/2), num(top), num(d.bar), num(bottom-top))
	// Its name from top to bottom where there is room, in a long one again and
	// again: on each sheet.
	long := float64(len(p.State))*d.small + 8
	for at := max(top, s.top) + 7; at+long <= min(bottom, s.bottom); at += max(26*d.rowHeight, d.sheet) {
		d.printf(`<text class="state%s" transform="translate(%s %s) rotate(90)">%s</text>`, sure, num(x-d.small*.5), num(at), esc(p.State))
	}
}
