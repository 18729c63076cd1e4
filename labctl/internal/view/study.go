package view

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/study"
)

// Study shows one run of many labs: how many have ended, those that did not
// pass, and at the end the table of answers. Its methods may be called from
// several goroutines.
type Study struct {
	mu        sync.Mutex
	page      page
	screen    *screen
	collector *study.Collector
	lab       string // the scenario's name
	total     int
	running   int
	ended     map[journal.Verdict]int
	told      int // labs that did not pass and were named
	begun     time.Time
	closed    bool
	ticker    *ticker
}

// mostTold is how many labs that did not pass are named as they end.
const mostTold = 20

// NewStudy shows a run of total labs on w. With o.Animate it starts a goroutine
// that Close ends.
func NewStudy(w io.Writer, o Options, total int) *Study {
	p := newPage(o)
	s := &Study{page: p, screen: &screen{w: w, page: p}, collector: study.NewCollector(), total: total,
		ended: map[journal.Verdict]int{}, begun: p.now()}
	if o.Animate {
		s.ticker = startTicker(s.tick)
	}
	return s
}

// Add takes the next event.
func (s *Study) Add(e journal.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.collector.Add(e)
	switch {
	case e.Header != nil:
		s.lab = e.Header.Scenario.Name
		s.screen.print(s.page.header(e.Header)...)
	case e.LabInfo != nil && e.LabInfo.Phase == journal.PhaseBegin:
		s.running++
	case e.LabInfo != nil && e.LabInfo.Phase == journal.PhaseEnd:
		s.running--
		s.ended[e.LabInfo.Verdict]++
		if e.LabInfo.Verdict != journal.Pass {
			s.tell(e.Lab, e.LabInfo)
		}
	}
}

// tell names a lab that did not pass, and why.
func (s *Study) tell(lab string, l *journal.Lab) {
	if s.told++; s.told > mostTold {
		return
	}
	row := s.collector.Row(lab)
	why := row.Reason
	if l.Verdict == journal.Skipped {
		why = "skipped: " + l.Skipped
	}
	s.screen.print(s.page.row(s.page.mark(l.Verdict)+" ", clean(lab), s.page.columnOf([]string{clean(lab)}), clean(why), "")...)
}

func (s *Study) tick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.screen.resize(s.page.columns)
	ended := 0
	for _, n := range s.ended {
		ended += n
	}
	text := fmt.Sprintf("%s %d of %s ended, %d running", s.page.sym.begin, ended, count(s.total, "lab"), s.running)
	for _, v := range []journal.Verdict{journal.Fail, journal.Error, journal.Skipped} {
		if s.ended[v] > 0 {
			text += fmt.Sprintf("%s%d %s", s.page.sym.dot, s.ended[v], v)
		}
	}
	s.screen.live(fit(text+s.page.sym.dot+s.page.duration(int64(s.page.now().Sub(s.begun))), max(s.screen.page.Width-1, 20), s.page.sym.more))
}

// Close takes the live line away. It may be called at any time and more than
// once. It returns the first error of the writer.
func (s *Study) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		s.screen.live("")
	}
	err := s.screen.err
	s.mu.Unlock()
	s.ticker.stop() // outside the lock, which a last tick may want
	return err
}

// Done closes the view and prints the table of answers, a headline with its
// verdict, and the path of the report if there is one.
func (s *Study) Done(verdict journal.Verdict, headline, reportPath string) {
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	if more := s.told - mostTold; more > 0 {
		lines = append(lines, fmt.Sprintf("  and %d more that did not pass", more))
	}
	t := s.collector.Table()
	lines = append(lines, s.page.grids(t)...)
	for i, f := range t.Flakes() {
		if i == mostTold {
			break
		}
		lines = append(lines, "", s.page.bad(clean(f.Cell))+" answered differently from run to run:")
		for _, a := range f.Answers {
			lines = append(lines, s.page.wrap("  ", "    ", clean(fmt.Sprintf("%s: %s", count(len(a.Runs), "run"), a.Text)))...)
		}
	}
	paint, word := s.page.bad, strings.ToUpper(string(verdict))
	if verdict == journal.Pass {
		paint = s.page.good
	}
	took := s.page.duration(int64(s.page.now().Sub(s.begun)))
	lines = append(lines, "")
	lines = append(lines, each(s.page.wrap(word+" ", "  ", fmt.Sprintf("%s: %s, in %s", clean(s.lab), headline, took)), paint)...)
	s.screen.print(append(lines, s.page.path("report", reportPath)...)...)
}

// grids set the table of answers for a terminal: each answer in a word, as far
// as the width allows.
func (p page) grids(t *study.Table) []string {
	step := t.Telling()
	if step == nil {
		return nil
	}
	var lines []string
	for _, g := range t.Grids() {
		table := [][]string{append([]string{clean(g.Rows.Name)}, clones(g.Columns.Values)...)}
		for i, name := range g.Rows.Values {
			row := []string{clean(name)}
			for _, c := range g.Cells[i] {
				row = append(row, p.answers(c, step.ID))
			}
			table = append(table, row)
		}
		set := p.grid("  ", table)
		for _, l := range set {
			if width(l) > p.layout() {
				return []string{"", "The table of answers is wider than this terminal: see the report."}
			}
		}
		var fixed []string
		for _, v := range g.Fixed {
			fixed = append(fixed, v.Axis+" "+v.Value)
		}
		caption := clean(step.ID)
		if len(fixed) > 0 {
			caption += ", " + clean(strings.Join(fixed, ", "))
		}
		if g.Columns.Name != "" {
			caption += ", by " + clean(g.Columns.Name)
		}
		lines = append(lines, "", p.bold(caption))
		lines = append(lines, set...)
	}
	return lines
}

func clones(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = clean(n)
	}
	return out
}

// answers is what the runs of a cell answered to a step, marked if one did not
// pass.
func (p page) answers(c study.Cell, step string) string {
	var texts []string
	mark := ""
	for _, r := range c.Rows {
		text := "-"
		if a := r.Answer(step); a != nil {
			text = a.Result
		}
		if len(texts) == 0 || texts[len(texts)-1] != text {
			texts = append(texts, text)
		}
		if r.Verdict != journal.Pass && r.Verdict != journal.Skipped {
			mark = p.sym.fail + " "
		}
	}
	const most = 3
	if len(texts) > most {
		texts = append(texts[:most], p.sym.more)
	}
	return clean(mark + strings.Join(texts, "/"))
}
