package cli

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/view"
)

// screen is a campaign.Show for people. It keeps the documents for machines.
type screen struct {
	display
	stderr    io.Writer
	index     string // of several runs
	documents []report.Document
}

// display is what a screen shows: one lab, one study, or several runs.
type display interface {
	Event(run int, e journal.Event)
	// done is the end of a run. d is nil without a report, and page empty where
	// it could not be written. It reports whether it has said why.
	done(run int, d report.Document, page, why string) bool
	// close ends the view; index lists several runs.
	close(index string) error
}

// Listed is the end of several runs.
func (s *screen) Listed(index string, err error) {
	if s.index = index; err != nil {
		fmt.Fprintln(s.stderr, "labctl:", err)
	}
}

// Done is the end of a run.
func (s *screen) Done(run int, d report.Document, folder string, err error) {
	why, page := "", ""
	if err != nil {
		why = strings.TrimRight(err.Error(), "\n")
	}
	if folder != "" {
		page = filepath.Join(folder, report.PageFile)
	}
	if told := s.done(run, d, page, why); !told && why != "" {
		fmt.Fprintln(s.stderr, "labctl:", why)
	}
	if d != nil {
		s.documents = append(s.documents, d)
	}
}

type oneLab struct {
	*view.View
	hands *hands
}

func (v oneLab) Event(_ int, e journal.Event) {
	v.hands.before(v.View, e)
	v.Add(e)
	v.hands.after(v.View, e)
}

func (v oneLab) done(_ int, d report.Document, page, _ string) bool {
	if d == nil {
		v.Close()
	} else {
		v.Done(page)
	}
	return false
}

func (v oneLab) close(string) error { return v.Close() }

type oneStudy struct{ *view.Study }

func (v oneStudy) Event(_ int, e journal.Event) { v.Add(e) }

func (v oneStudy) done(_ int, d report.Document, page, _ string) bool {
	if s, ok := d.(*report.Study); ok {
		v.Done(s.Outcome(), s.Headline(), page)
	} else {
		v.Close()
	}
	return false
}

func (v oneStudy) close(string) error { return v.Close() }

// several shows several runs, by names of which no two are the same.
type several struct {
	*view.Many
	names []string
	bad   []string // pages of runs that did not pass
}

func manyRuns(w io.Writer, o view.Options, items []campaign.Item) *several {
	s := &several{}
	taken := map[string]bool{}
	for i, item := range items {
		name := item.Label()
		if taken[name] {
			name = fmt.Sprintf("%s (%d)", name, i+1)
		}
		taken[name] = true
		s.names = append(s.names, name)
	}
	s.Many = view.NewMany(w, o, s.names...)
	return s
}

func (v *several) Event(run int, e journal.Event) { v.AddFrom(v.names[run], e) }

func (v *several) done(run int, d report.Document, page, why string) bool {
	if page != "" && (why != "" || d.Outcome() != journal.Pass && d.Outcome() != journal.Skipped) {
		v.bad = append(v.bad, page)
	}
	if why != "" {
		v.Fail(v.names[run], why)
	} else if s, ok := d.(*report.Study); ok {
		v.EndStudy(v.names[run], s.Outcome(), s.Headline())
	}
	return true
}

func (v *several) close(index string) error {
	v.Done(index, v.bad...)
	return v.Close()
}
