package report

import (
	"io"

	"restartlab/labctl/internal/journal"
)

// Report is a run.
type Report struct {
	Schema  int             `json:"schema"`
	Verdict journal.Verdict `json:"verdict"`
}

func Build(events []journal.Event) (*Report, error) { return &Report{Schema: 1}, nil }
func WriteDir(dir string, r *Report) error          { return nil }
func JSON(w io.Writer, r *Report) error             { return nil }
func Markdown(w io.Writer, r *Report) error         { return nil }
func HTML(w io.Writer, r *Report) error             { return nil }
func JUnit(w io.Writer, r *Report) error            { return nil }
func TAP(w io.Writer, r *Report) error              { return nil }
func Schema() ([]byte, error)                       { return nil, nil }
