package report

import (
	"io"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/study"
)

// Document is what a run came to: a *Report of its one lab, or a *Study of its
// many.
type Document interface {
	// Outcome is the verdict of the whole run.
	Outcome() journal.Verdict

	name() string
	title() string
	headline() string
	json() any
	html(io.Writer) error
	markdown(markdown)
	suite() junitSuite
	tap(tapWriter)
}

// Outcome is the lab's verdict.
func (r *Report) Outcome() journal.Verdict { return r.Verdict }

func (r *Report) name() string        { return r.Scenario.Name }
func (r *Report) json() any           { return r }
func (r *Report) markdown(m markdown) { m.report(r) }

// Study is a run of many labs: a table of their answers.
type Study struct {
	*study.Table
	// Pages are the paths of the pages of labs, relative to that of the study,
	// by the lab's name; a lab without one has none.
	Pages map[string]string
}

// Outcome is the worst of the labs' verdicts, and fail if runs of a cell
// differ. Labs that were skipped count only if all were.
func (s *Study) Outcome() journal.Verdict {
	n := s.Count()
	for _, v := range []journal.Verdict{journal.Incomplete, journal.Error, journal.Fail} {
		if n[v] > 0 {
			return v
		}
	}
	switch {
	case len(s.Flakes()) > 0:
		return journal.Fail
	case n[journal.Pass] > 0:
		return journal.Pass
	case n[journal.Skipped] > 0:
		return journal.Skipped
	}
	return journal.Incomplete
}

func (s *Study) name() string     { return s.Scenario.Name }
func (s *Study) headline() string { return s.Headline() }
func (s *Study) json() any        { return s.Table }
