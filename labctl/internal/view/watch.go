package view

import (
	"fmt"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"restartlab/labctl/internal/journal"
)

// Reading is a socket table as it was at one moment.
type Reading struct {
	At   time.Time
	Rows []journal.Socket
	// Unlisted names the states that this kernel cannot list.
	Unlisted []string
	// Err says that rows may be missing, and why.
	Err error
}

// Watched says what of a table is of interest.
type Watched struct {
	Title string // whose table it is
	Port  uint16 // local or foreign; 0 for every port
	State string // empty for every state
	Every time.Duration
}

// Watch shows one socket table again and again, and marks what has changed. On
// a terminal each reading takes the place of the one before; elsewhere a
// reading is printed if it differs in more than its times. Its methods must
// not be called by two goroutines at once.
type Watch struct {
	page    page
	screen  *screen
	what    Watched
	rows    []watched
	begun   bool
	said    []string // the remarks on the last reading
	drawn   []string // the lines that the next reading takes the place of
	drawnAt int      // the terminal's width then
}

// watched is a row and what has become of it.
type watched struct {
	journal.Socket
	mark  mark
	since time.Time // when the mark was set
}

type mark byte

const (
	unmarked mark = iota
	appeared
	turned // into another state, or to another address
	gone
)

// signs stand before a row, by its mark.
const signs = " +~-"

// markedFor is how long a change stays marked on a terminal, and a row that is
// gone stays: long enough to turn one's head.
const markedFor = 3 * time.Second

// NewWatch shows on w what Add is given.
func NewWatch(w io.Writer, o Options, what Watched) *Watch {
	p := newPage(o)
	return &Watch{page: p, screen: &screen{w: w, page: p}, what: what}
}

// Add shows the next reading.
func (w *Watch) Add(r Reading) {
	rows, resolver := w.what.pick(r.Rows)
	news := w.merge(rows, r)
	if w.page.Animate {
		w.draw(r, resolver)
	} else if said := w.page.remarks(r, resolver); news || !w.begun || !slices.Equal(said, w.said) {
		w.screen.print(w.plain(r, said)...)
		w.said = said
	}
	w.begun = true
}

// Err is the writer's first error.
func (w *Watch) Err() error { return w.screen.err }

// Table prints one reading without marks.
func Table(w io.Writer, o Options, what Watched, r Reading) error {
	o.Animate = false
	rows, resolver := what.pick(r.Rows)
	p := newPage(o)
	return write(w, append(p.sockets(asWatched(rows), ""), p.remarks(r, resolver)...))
}

// pick leaves the rows of interest. resolver says that one was left out that is
// Docker's own and no program's: the resolver that it puts into the namespace of
// each container, at 127.0.0.11.
func (what Watched) pick(rows []journal.Socket) (picked []journal.Socket, resolver bool) {
	docker := netip.AddrFrom4([4]byte{127, 0, 0, 11})
	for _, r := range rows {
		switch {
		case what.State != "" && r.State != what.State:
		case what.Port != 0 && r.Local.Port() != what.Port && r.Remote.Port() != what.Port:
		case what.Port == 0 && r.State == "LISTEN" && r.Local.Addr() == docker:
			resolver = true
		default:
			picked = append(picked, r)
		}
	}
	return picked, resolver
}

// Any reports whether a reading has a row of interest.
func (what Watched) Any(r Reading) bool {
	rows, _ := what.pick(r.Rows)
	return len(rows) > 0
}

// merge takes over the rows of a reading, marks them by what was there before,
// and reports whether there is anything new but time. After a reading that
// failed, rows that are missing are not known to be gone.
func (w *Watch) merge(rows []journal.Socket, r Reading) (news bool) {
	old := map[uint64]watched{}
	for _, o := range w.rows {
		if o.mark != gone {
			old[o.Cookie] = o
		}
	}
	var now []watched
	for _, s := range rows {
		n := watched{Socket: s, since: r.At}
		before, known := old[s.Cookie]
		delete(old, s.Cookie)
		switch {
		case !w.begun:
		case !known:
			n.mark = appeared
		case before.State != s.State || before.Local != s.Local || before.Remote != s.Remote:
			n.mark = turned
		case before.mark != unmarked && w.holds(before, r.At):
			n.mark, n.since = before.mark, before.since
			now = append(now, n)
			continue
		}
		news = news || n.mark != unmarked
		now = append(now, n)
	}
	for _, o := range w.rows {
		_, missing := old[o.Cookie]
		switch {
		case o.mark == gone && w.holds(o, r.At):
			now = append(now, o)
		case o.mark == gone || !missing:
		case r.Err != nil:
			now = append(now, o)
		default:
			o.mark, o.since, o.Timer, o.TimeLeft = gone, r.At, "", nil
			now = append(now, o)
			news = true
		}
	}
	w.rows = now
	return news
}

// holds reports whether a mark is still to be seen. In a pipe it is printed
// once.
func (w *Watch) holds(o watched, now time.Time) bool {
	return w.page.Animate && now.Sub(o.since) < markedFor
}

// plain is a reading for a pipe: its time, the table, and remarks unless they
// are those of the last one.
func (w *Watch) plain(r Reading, remarks []string) []string {
	lines := []string{r.At.Format("15:04:05.000")}
	lines = append(lines, w.page.sockets(w.rows, signs)...)
	if !slices.Equal(remarks, w.said) {
		lines = append(lines, remarks...)
	}
	return lines
}

// draw puts a reading in the place of the one before.
func (w *Watch) draw(r Reading, resolver bool) {
	w.screen.resize(w.page.columns)
	p := w.page
	p.Width = w.screen.page.Width
	what := clean(w.what.Title)
	if w.what.Port != 0 {
		what += fmt.Sprintf("%sport %d", p.sym.dot, w.what.Port)
	}
	if w.what.State != "" {
		what += p.sym.dot + w.what.State
	}
	head := p.wrap("", "  ", fmt.Sprintf("%s%s%s%severy %s", what, p.sym.dot, r.At.Format("15:04:05"), p.sym.dot, w.what.Every))
	table := p.sockets(w.rows, signs)
	foot := each(p.wrap("", "  ", "+ new   ~ changed   - gone   Ctrl-C ends"), p.dim)
	foot = append(p.remarks(r, resolver), foot...)
	room := math.MaxInt
	if p.lines != nil && p.lines() > 1 {
		room = p.lines() - 1 // the cursor stands on a line of its own below
	}
	if n := room - len(head) - len(foot); n > 1 && len(table) > n {
		table = append(table[:n-1], fmt.Sprintf("  (%d more lines)", len(table)-n+1))
	}
	lines := slices.Concat(each(head, p.bold), table, foot)
	lines = lines[:min(len(lines), room)]

	up := 0 // rows of the terminal, which folds what has become too wide for it
	for _, l := range w.drawn {
		up++
		if p.Width > 0 && p.Width < w.drawnAt {
			up += max(width(l)-1, 0) / p.Width
		}
	}
	var b strings.Builder
	if up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up) // CUU, then ED: erase to the end
	}
	b.WriteString("\r\x1b[J")
	for _, l := range lines {
		b.WriteString(strings.TrimRight(l, " ") + "\n")
	}
	w.screen.write(b.String())
	w.drawn, w.drawnAt = lines, p.Width
}

func asWatched(rows []journal.Socket) []watched {
	all := make([]watched, len(rows))
	for i, r := range rows {
		all[i].Socket = r
	}
	return all
}

// sockets sets rows in netstat's columns, each behind its mark if marks has
// signs for them. A line that is too wide is folded.
func (p page) sockets(rows []watched, marks string) []string {
	table := make([]journal.Socket, len(rows))
	for i, r := range rows {
		table[i] = r.Socket
	}
	paint := map[mark]func(string) string{appeared: p.good, turned: p.lesson, gone: p.dim}
	var lines []string
	for i, l := range netstat(table) {
		m := unmarked
		if i > 0 && i <= len(rows) {
			m = rows[i-1].mark
		}
		first := ""
		if marks != "" {
			first = marks[m:m+1] + " "
		}
		l = clean(l)
		set := []string{first + l}
		if p.Width > 0 && width(first)+width(l) > p.Width {
			set = p.wrap(first, strings.Repeat(" ", width(first)+2), l)
		}
		switch {
		case i == 0:
			set = each(set, p.dim)
		case paint[m] != nil:
			set = each(set, paint[m])
		}
		lines = append(lines, set...)
	}
	return lines
}

// remarks are what a table cannot show.
func (p page) remarks(r Reading, resolver bool) []string {
	var lines []string
	if r.Err != nil {
		lines = append(lines, each(p.wrap("", "  ", clean(r.Err.Error())+"; rows may be missing"), p.bad)...)
	}
	if len(r.Unlisted) > 0 {
		lines = append(lines, p.wrap("", "  ", "this kernel cannot list: "+clean(strings.Join(r.Unlisted, ", ")))...)
	}
	if resolver {
		lines = append(lines, p.wrap("", "  ", "not shown: Docker's resolver, which listens at 127.0.0.11 in every container")...)
	}
	return lines
}
