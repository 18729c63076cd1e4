package view

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"restartlab/labctl/internal/journal"
)

// Many shows scenario runs side by side: a line for each as it ends, below it
// what failed, and a summary. Its methods may be called from several
// goroutines.
type Many struct {
	mu      sync.Mutex
	page    page
	screen  *screen
	runs    map[string]*run
	running []*entry // in the order of their beginning
	names   []string
	total   int
	ended   map[journal.Verdict][]string
	lossy   []string // runs whose observers lost events
	begun   time.Time
	closed  bool
	ticker  *ticker
}

// run is one journal: one scenario, and its labs by name.
type run struct {
	header  *journal.Header
	entries map[string]*entry
}

// entry is one lab.
type entry struct {
	name string // as shown
	lab  lab
	one  bool // of many in a study, which counts as one itself
}

// NewMany shows runs on w, whose scenarios have the names, as far as they are known.
// With o.Animate it starts a goroutine that Close ends.
func NewMany(w io.Writer, o Options, names ...string) *Many {
	p := newPage(o)
	m := &Many{page: p, screen: &screen{w: w, page: p}, runs: map[string]*run{},
		ended: map[journal.Verdict][]string{}, begun: p.now()}
	for _, name := range names {
		m.names = append(m.names, clean(name))
	}
	if o.Animate {
		m.ticker = startTicker(m.tick)
	}
	return m
}

// Add is AddFrom for a single run of many labs.
func (m *Many) Add(e journal.Event) { m.AddFrom("", e) }

// AddFrom takes the next event of the run with that name, which only has to
// differ from the others' and is shown if the run dies before its header.
func (m *Many) AddFrom(name string, e journal.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	r := m.run(name)
	if e.Kind == journal.KindHeader {
		r.header = e.Header
		return
	}
	if e.Lab == "" {
		return
	}
	en := r.entries[e.Lab]
	if en == nil {
		en = m.begin(r, e)
	}
	en.lab.add(e)
	if l := e.LabInfo; l != nil && l.Phase == journal.PhaseEnd {
		m.settle(en, l.Verdict)
	}
	m.drawLive()
}

func (m *Many) run(name string) *run {
	r := m.runs[name]
	if r == nil {
		r = &run{entries: map[string]*entry{}}
		m.runs[name] = r
	}
	return r
}

func (m *Many) begin(r *run, e journal.Event) *entry {
	name := e.Lab
	en := &entry{name: clean(name), lab: lab{name: name, now: m.page.now, header: r.header}}
	if r.header != nil && r.header.Scenario.Name != name {
		en.name = clean(r.header.Scenario.Name + "/" + name)
	}
	en.one = e.LabInfo != nil && (e.LabInfo.Cell != nil || e.LabInfo.Run > 0)
	r.entries[name] = en
	m.running = append(m.running, en)
	if !en.one {
		m.total++
	}
	return en
}

// Fail says that a run ended without the verdict of a lab, and why: of the labs
// that it had under way or, if there are none, of the run itself.
func (m *Many) Fail(name, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	r := m.run(name)
	alone := true
	for _, en := range slices.Clone(m.running) {
		if r.entries[en.lab.name] == en {
			alone = false
			en.lab.result = &journal.Lab{Verdict: journal.Error, Error: why}
			m.settle(en, journal.Error)
		}
	}
	if !alone {
		return
	}
	if r.header != nil {
		name = r.header.Scenario.Name
	}
	name = clean(name)
	if len(r.entries) == 0 {
		m.total++
	}
	if !slices.Contains(m.ended[journal.Error], name) {
		m.ended[journal.Error] = append(m.ended[journal.Error], name)
	}
	first, rest, _ := strings.Cut(why, "\n")
	m.print(journal.Error, name, clean(first), "")
	m.screen.print(m.page.paragraphs(indent, rest)...)
}

// EndStudy counts the run of that name, a study, and says how its labs went.
func (m *Many) EndStudy(name string, v journal.Verdict, headline string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	r := m.run(name)
	if r.header != nil {
		name = r.header.Scenario.Name
	}
	m.total++
	m.ended[v] = append(m.ended[v], clean(name))
	m.print(v, clean(name), clean(headline), "")
}

// settle prints the line of a lab that has ended and, if it did not pass, what
// to know of it.
func (m *Many) settle(en *entry, v journal.Verdict) {
	m.running = slices.DeleteFunc(m.running, func(r *entry) bool { return r == en })
	if en.one && (v == journal.Pass || v == journal.Skipped) {
		return // the study's line counts it
	}
	if !en.one {
		m.ended[v] = append(m.ended[v], en.name)
	}
	l := &en.lab
	text := count(l.ended, "step")
	switch v {
	case journal.Pass:
	case journal.Incomplete:
		text = "ended early, after " + l.progress()
	case journal.Skipped:
		text = "skipped: " + clean(l.result.Skipped)
	case journal.Error:
		text = strings.TrimSuffix("error"+m.page.where(l, "")+": "+m.page.why(l), ": ")
	default:
		text = "failed" + m.page.where(l, "")
	}
	if l.lost > 0 {
		text += l.losses()
		m.lossy = append(m.lossy, en.name)
	}
	m.print(v, en.name, text, m.page.duration(l.end-l.begun))
	if l.bad == nil || v == journal.Pass {
		return
	}
	for _, mm := range l.badEnd.Mismatches {
		m.screen.print(m.page.mismatch(mm)...)
	}
	m.screen.print(m.page.refusal(l, l.bad)...)
}

func (m *Many) print(v journal.Verdict, name, text, took string) {
	m.screen.print(m.page.row(m.page.mark(v)+" ", name, m.page.columnOf(m.names), text, took)...)
}

func (m *Many) tick() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.screen.resize(m.page.columns)
		m.drawLive()
	}
}

// drawLive counts what runs and names it, with the time left where the
// kernel's timer tells.
func (m *Many) drawLive() {
	if !m.page.Animate {
		return
	}
	if len(m.running) == 0 {
		m.screen.live("")
		return
	}
	text := fmt.Sprintf("%s %d running, %d ended", m.page.sym.begin, len(m.running), m.total-len(m.running))
	for _, en := range m.running {
		text += m.page.sym.dot + en.name
		if s := en.lab.step; s != nil && s.timer != "" {
			text += " " + seconds(s.due.Sub(m.page.now()))
		}
	}
	m.screen.live(fit(text, max(m.screen.page.Width-1, 20), m.page.sym.more))
}

// Close takes the live line away and names the labs that did not end. It may
// be called at any time and more than once. It returns the first error of the
// writer.
func (m *Many) Close() error {
	m.mu.Lock()
	if !m.closed {
		m.closed = true
		m.screen.live("")
		for len(m.running) > 0 {
			m.settle(m.running[0], journal.Incomplete)
		}
	}
	err := m.screen.err
	m.mu.Unlock()
	m.ticker.stop() // outside the lock, which a last tick may want
	return err
}

// Done closes the view and prints the summary, the pages of runs that did not pass
// and, last, the path of the index if there is one.
func (m *Many) Done(index string, bad ...string) {
	m.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	passed := len(m.ended[journal.Pass])
	took := m.page.duration(int64(m.page.now().Sub(m.begun)))
	lost := ""
	if len(m.lossy) > 0 {
		lost = "; the observers lost events of: " + strings.Join(m.lossy, ", ")
	}
	lines := []string{""}
	skips := ""
	if names := m.ended[journal.Skipped]; len(names) > 0 {
		skips = "; skipped: " + strings.Join(names, ", ")
	}
	if passed > 0 && passed+len(m.ended[journal.Skipped]) == m.total {
		lines = append(lines, each(m.page.wrap("PASS ", "  ", fmt.Sprintf("%s in %s", count(passed, "scenario"), took)+skips+lost), m.page.good)...)
	} else {
		text := fmt.Sprintf("%d of %s passed in %s", passed, count(m.total, "scenario"), took)
		word := "INCOMPLETE "
		if m.total > 0 && len(m.ended[journal.Skipped]) == m.total {
			word = "SKIPPED "
		}
		for _, g := range []struct {
			v          journal.Verdict
			word, said string
		}{{journal.Incomplete, "INCOMPLETE ", "did not end"}, {journal.Fail, "FAIL ", "failed"}, {journal.Error, "ERROR ", "could not run"}} {
			if names := m.ended[g.v]; len(names) > 0 {
				word = g.word
				text += "; " + g.said + ": " + strings.Join(names, ", ")
			}
		}
		lines = append(lines, each(m.page.wrap(word, "  ", text+skips+lost), m.page.bad)...)
	}
	for _, page := range bad {
		lines = append(lines, m.page.path("report", page)...)
	}
	m.screen.print(append(lines, m.page.path("reports", index)...)...)
}
