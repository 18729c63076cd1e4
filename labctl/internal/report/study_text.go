package report

import (
	"fmt"
	"strings"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/study"
)

func (s *Study) markdown(m markdown) {
	m.line("# "+plain(s.title()), "")
	if zh := s.Scenario.Title.ZH; zh != "" {
		m.line("**"+plain(zh)+"**", "")
	}
	m.line(fmt.Sprintf("**%s** %s.", strings.ToUpper(string(s.Outcome())), plain(s.Headline())), "")
	if lesson := s.Scenario.Lesson; !lesson.IsZero() {
		m.line("## The answer", "")
		m.prose(lesson.EN)
		m.prose(lesson.ZH)
	}
	if step := s.Telling(); step != nil {
		for i, g := range s.Grids() {
			if i == 0 {
				m.line("## What the kernel answered to "+plain(step.ID), "")
			}
			m.grid(g, step.ID)
		}
	}
	for _, d := range s.Times() {
		m.line("## How long "+plain(d.Step)+" took"+s.onKernel(d.Kernel), "", spread(d)+".", "")
		m.fence("", bars(d))
	}
	m.troubles(s)
	m.line("## Environment", "", "| | |", "|---|---|")
	for _, row := range s.machines() {
		m.line(fmt.Sprintf("| %s | %s |", row[0], plain(row[1])))
	}
	m.line("", "Every answer is in results.csv and results.json beside this file.")
}

func (m markdown) grid(g study.Grid, step string) {
	if text := fixed(g); text != "" {
		m.line("### "+plain(text), "")
	}
	corner := g.Rows.Name
	if g.Columns.Name != "" {
		corner += " \\ " + g.Columns.Name
	}
	m.line("| "+plain(corner)+" | "+strings.Join(plainAll(g.Columns.Values), " | ")+" |",
		strings.Repeat("|---", len(g.Columns.Values)+1)+"|")
	for i, name := range g.Rows.Values {
		cells := make([]string, len(g.Cells[i]))
		for j, c := range g.Cells[i] {
			var all []string
			for _, one := range said(c.Rows, step) {
				all = append(all, one.String())
			}
			text := strings.Join(all, " or ")
			switch worstOf(c.Rows) {
			case journal.Pass, journal.Skipped:
			default:
				text = "✗ " + text
			}
			cells[j] = plain(text)
		}
		m.line("| **" + plain(name) + "** | " + strings.Join(cells, " | ") + " |")
	}
	m.line("")
}

func plainAll(texts []string) []string {
	out := make([]string, len(texts))
	for i, t := range texts {
		out[i] = plain(t)
	}
	return out
}

func (m markdown) troubles(s *Study) {
	failed, skipped := s.troubles()
	list := func(title string, rows []*study.Row) {
		if len(rows) == 0 {
			return
		}
		m.line("## "+title, "")
		const most = 200
		for i, r := range rows {
			if i == most {
				m.line(fmt.Sprintf("- and %d more, in results.csv", len(rows)-most))
				break
			}
			m.line("- " + plain(s.where(r)+": "+reason(r)))
		}
		m.line("")
	}
	list("Cells that did not pass", failed)
	if flakes := s.Flakes(); len(flakes) > 0 {
		m.line("## Cells that answered differently from run to run", "")
		for _, f := range flakes {
			m.line("- " + plain(f.Cell+" ("+f.Kernel+")"))
			for _, a := range f.Answers {
				m.line("  - " + plain(fmt.Sprintf("%s: %s", count(len(a.Runs), "run"), a.Text)))
			}
		}
		m.line("")
	}
	list("Skipped cells", skipped)
}

func (s *Study) suite() junitSuite {
	suite := junitSuite{Name: clean(s.Scenario.Name), Time: junitTime(0)}
	if len(s.Runs) > 0 {
		suite.Timestamp = clean(s.Runs[0].Started)
	}
	for _, row := range s.machines() {
		suite.Properties = append(suite.Properties, junitProperty{clean(row[0]), clean(row[1])})
	}
	for i := range s.Rows {
		r := &s.Rows[i]
		c := junitCase{Class: suite.Name, Name: clean(s.where(r)), Time: junitTime(0), Output: clean(r.String())}
		message := &junitMessage{Message: clean(reason(r)), Type: clean(string(r.Verdict))}
		switch r.Verdict {
		case journal.Pass:
		case journal.Fail:
			c.Failure = message
		case journal.Skipped:
			message.Type = ""
			c.Skipped = message
		default:
			c.Error = message
		}
		suite.Cases = append(suite.Cases, c)
	}
	for _, f := range s.Flakes() {
		suite.Cases = append(suite.Cases, junitCase{Class: suite.Name, Name: clean(f.Cell + " on " + f.Kernel + ": the same in every run"),
			Time: junitTime(0), Failure: &junitMessage{Message: clean(flakeText(f)), Type: "flake"}})
	}
	suite.count()
	return suite
}

func flakeText(f study.Flake) string {
	parts := make([]string, len(f.Answers))
	for i, a := range f.Answers {
		parts[i] = fmt.Sprintf("%s: %s", count(len(a.Runs), "run"), a.Text)
	}
	return strings.Join(parts, " | ")
}

func (s *Study) tap(b tapWriter) {
	flakes := s.Flakes()
	fmt.Fprintf(b, "1..%d\n", len(s.Rows)+len(flakes))
	for i := range s.Rows {
		r := &s.Rows[i]
		result, directive := "not ok", ""
		switch r.Verdict {
		case journal.Pass:
			result = "ok"
		case journal.Skipped:
			result, directive = "ok", " # SKIP "+tapText(reason(r))
		}
		fmt.Fprintf(b, "%s %d - %s%s\n", result, i+1, tapText(s.where(r)), directive)
		if directive == "" {
			fmt.Fprintf(b, "  ---\n  seen: %s\n", quote(r.String()))
			if r.Verdict != journal.Pass {
				fmt.Fprintf(b, "  message: %s\n", quote(reason(r)))
			}
			b.WriteString("  ...\n")
		}
	}
	for i, f := range flakes {
		fmt.Fprintf(b, "not ok %d - %s\n  ---\n  message: %s\n  ...\n", len(s.Rows)+i+1,
			tapText(f.Cell+" on "+f.Kernel+": the same in every run"), quote(flakeText(f)))
	}
}

// onKernel names a kernel where there are several.
func (s *Study) onKernel(kernel string) string {
	if len(s.Kernels()) < 2 {
		return ""
	}
	return " on " + clean(kernel)
}

// spread says how times lie.
func spread(d study.Times) string {
	return fmt.Sprintf("%s: shortest %s, median %s, longest %s", count(len(d.Took), "lab"),
		journal.Duration(d.Took[0]), journal.Duration(d.Quantile(0.5)), journal.Duration(d.Took[len(d.Took)-1]))
}

// bars are a histogram in text.
func bars(d study.Times) []string {
	const longest = 40
	most := 0
	for _, b := range d.Bins {
		most = max(most, b.Count)
	}
	lines := make([]string, len(d.Bins))
	for i, b := range d.Bins {
		lines[i] = strings.TrimRight(fmt.Sprintf("%12s  %4d  %s", journal.Duration(b.From), b.Count, strings.Repeat("#", (b.Count*longest+most-1)/most)), " ")
	}
	return lines
}
