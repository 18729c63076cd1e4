package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"restartlab/labctl/internal/journal"
)

// pause is the wait for the reader before a step.
type pause struct {
	*journal.Pause
	asked time.Time
}

// runOut is when the kernel lets a host's last TIME_WAIT go, by the newest table.
type runOut struct {
	count int
	due   time.Time
}

// addTimers remembers what a table of all ports says of TIME_WAIT.
func (l *lab) addTimers(e journal.Event) {
	if e.Sockets.Port != 0 || e.Sockets.Error != "" {
		return
	}
	var r runOut
	var longest int64
	for _, s := range e.Sockets.Rows {
		if s.State == "TIME_WAIT" && s.TimeLeft != nil {
			r.count++
			longest = max(longest, *s.TimeLeft)
		}
	}
	r.due = l.now().Add(time.Duration(longest) * time.Millisecond)
	if l.timers == nil {
		l.timers = map[string]runOut{}
	}
	l.timers[e.Host] = r
}

// timeWaits says how long TIME_WAIT stays: "server: TIME_WAIT 43.1 s left".
func (l *lab) timeWaits() string {
	var parts []string
	for _, host := range slices.Sorted(maps.Keys(l.timers)) {
		r := l.timers[host]
		if r.count == 0 {
			continue
		}
		text := clean(host) + ": "
		if r.count > 1 {
			text += fmt.Sprintf("%d ", r.count)
		}
		text += "TIME_WAIT " + seconds(r.due.Sub(l.now())) + " left"
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

func (v *View) addPause(p *journal.Pause) {
	if p.Phase != journal.PhaseBegin {
		v.paused = nil
		return
	}
	v.printHosts()
	v.paused = &pause{p, v.page.now()}
	if !v.page.Animate {
		v.print(v.page.wrap("", "  ", v.waiting())...)
	}
}

// waiting is what a reader sees who is waited for.
func (v *View) waiting() string {
	name := v.page.text(v.paused.Title)
	if name == "" {
		name = clean(v.paused.ID)
	}
	text := fmt.Sprintf("%s next: %s%sEnter begins it", v.page.sym.begin, name, v.page.sym.dot)
	if left := v.lab.timeWaits(); left != "" {
		text += v.page.sym.dot + left
	}
	return text
}

// Entered says that the reader has pressed Enter below the live line, which the
// terminal has left standing: it is taken away.
func (v *View) Entered() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.page.Animate && !v.closed {
		v.paused = nil
		v.screen.now = ""
		v.screen.write(eraseLine + "\x1b[1A" + eraseLine)
	}
}
