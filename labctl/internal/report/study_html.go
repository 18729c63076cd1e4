package report

import (
	_ "embed"
	"html/template"
	"io"
	"strings"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/study"
)

//go:embed study.html
var studyText string

//go:embed study.css
var studyStyle string

// studyPage is what study.html shows; every text in it has gone through clean.
type studyPage struct {
	Style               template.CSS
	Title, TitleZH      string
	Name                string
	Verdict, Mark, Head string
	Lesson, LessonZH    [][]span
	Asked               string // the step that the grids show
	Grids               []gridView
	Times               []timesView
	Failed, Skipped     []trouble
	Flakes              []trouble
	Machines            [][2]string
	Links               bool // cells open pages
}

type (
	gridView struct {
		Caption       string
		Rows, Columns string // names of the axes
		Heads         []string
		Lines         []gridLine
	}
	gridLine struct {
		Name  string
		Cells []gridCell
	}
	gridCell struct {
		Tone, Mark string
		Answers    []saying
		Page       string
		Label      string // for a reader that does not see where it stands
	}
	timesView struct {
		Step, Spread string
		Bars         []timesBar
	}
	timesBar struct {
		From    string
		Count   int
		Percent int // of the highest bar
	}
	trouble struct{ Name, Text, Page string }
)

func (s *Study) html(w io.Writer) error {
	t, err := template.New("study").Parse(studyText)
	if err != nil {
		return err
	}
	p := studyPage{Style: template.CSS(pageStyle + studyStyle), Title: clean(s.title()), TitleZH: clean(s.Scenario.Title.ZH),
		Name: clean(s.Scenario.Name), Verdict: string(s.Outcome()), Mark: mark4(s.Outcome()), Head: clean(s.Headline()), Links: len(s.Pages) > 0,
		Lesson: paragraphs(s.Scenario.Lesson.EN), LessonZH: paragraphs(s.Scenario.Lesson.ZH)}
	if step := s.Telling(); step != nil {
		p.Asked = clean(step.ID)
		for _, g := range s.Grids() {
			p.Grids = append(p.Grids, s.view(g, step.ID))
		}
	}
	for _, d := range s.Times() {
		v := timesView{Step: clean(d.Step + s.onKernel(d.Kernel)), Spread: spread(d)}
		most := 0
		for _, b := range d.Bins {
			most = max(most, b.Count)
		}
		for _, b := range d.Bins {
			v.Bars = append(v.Bars, timesBar{journal.Duration(b.From), b.Count, b.Count * 100 / most})
		}
		p.Times = append(p.Times, v)
	}
	failed, skipped := s.troubles()
	for _, r := range failed {
		p.Failed = append(p.Failed, s.trouble(r))
	}
	for _, r := range skipped {
		p.Skipped = append(p.Skipped, s.trouble(r))
	}
	for _, f := range s.Flakes() {
		p.Flakes = append(p.Flakes, trouble{Name: clean(f.Cell), Text: clean(flakeText(f))})
	}
	for _, row := range s.machines() {
		p.Machines = append(p.Machines, [2]string{row[0], clean(row[1])})
	}
	return t.Execute(w, p)
}

func mark4(v journal.Verdict) string {
	switch v {
	case journal.Pass:
		return "✓"
	case journal.Skipped:
		return "–"
	}
	return "✗"
}

func (s *Study) trouble(r *study.Row) trouble {
	_, lab := r.Lab()
	return trouble{clean(s.where(r)), clean(reason(r)), s.Pages[lab]}
}

func (s *Study) view(g study.Grid, step string) gridView {
	v := gridView{Caption: clean(fixed(g)), Rows: clean(g.Rows.Name), Columns: clean(g.Columns.Name)}
	for _, name := range g.Columns.Values {
		v.Heads = append(v.Heads, clean(name))
	}
	for i, name := range g.Rows.Values {
		line := gridLine{Name: clean(name)}
		for j, c := range g.Cells[i] {
			cell := gridCell{Tone: tone(c.Rows, step)}
			for _, one := range said(c.Rows, step) {
				cell.Answers = append(cell.Answers, saying{clean(one.Word), clean(one.More)})
			}
			for _, r := range c.Rows {
				if _, lab := r.Lab(); cell.Page == "" {
					cell.Page = s.Pages[lab]
				}
			}
			switch worstOf(c.Rows) {
			case journal.Pass, journal.Skipped:
			default:
				cell.Mark = "✗"
			}
			cell.Label = strings.TrimSpace(clean(name) + ", " + v.Heads[j])
			line.Cells = append(line.Cells, cell)
		}
		v.Lines = append(v.Lines, line)
	}
	return v
}
