package study

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"

	"restartlab/labctl/internal/journal"
)

// column is what results.csv has of a step, where any row has it.
type column struct {
	name string
	of   func(*Answer) string
}

var columns = []column{
	{"result", func(a *Answer) string { return a.Result }},
	{"holders", func(a *Answer) string { return Tally(a.Holders) }},
	{"states", func(a *Answer) string { return Tally(a.States) }},
	{"results", func(a *Answer) string { return Tally(a.Results) }},
	{"queued", func(a *Answer) string {
		if a.Queued == nil {
			return ""
		}
		return number(*a.Queued)
	}},
	{"text", func(a *Answer) string { return a.Text }},
	{"took_ns", func(a *Answer) string {
		if a.Took == 0 {
			return ""
		}
		return fmt.Sprint(a.Took)
	}},
}

// CSV writes results.csv (RFC 4180): one row for each row of the table, after a
// row of names.
func (t *Table) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	c.UseCRLF = true
	repeated := false
	for _, r := range t.Rows {
		repeated = repeated || r.Run != 0
	}
	head := []string{"kernel", "cell"}
	if repeated {
		head = append(head, "run")
	}
	for _, a := range t.Axes {
		head = append(head, a.Name)
	}
	type field struct {
		step string
		column
	}
	var fields []field
	for _, s := range t.Steps {
		for _, col := range columns {
			if t.has(s.ID, col) {
				fields = append(fields, field{s.ID, col})
				head = append(head, s.ID+"."+col.name)
			}
		}
	}
	if err := c.Write(append(head, "verdict", "skip_reason")); err != nil {
		return err
	}
	for i := range t.Rows {
		r := &t.Rows[i]
		line := []string{r.Kernel, r.Cell}
		if repeated {
			line = append(line, number(r.Run))
		}
		for i := range t.Axes {
			value := ""
			if i < len(r.Values) {
				value = r.Values[i]
			}
			line = append(line, value)
		}
		for _, f := range fields {
			value := ""
			if a := r.Answer(f.step); a != nil {
				value = f.of(a)
			}
			line = append(line, value)
		}
		if err := c.Write(append(line, string(r.Verdict), r.Skipped)); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

func (t *Table) has(step string, col column) bool {
	if col.name == "result" {
		return true
	}
	for i := range t.Rows {
		if a := t.Rows[i].Answer(step); a != nil && col.of(a) != "" {
			return true
		}
	}
	return false
}

// JSON writes results.json.
func (t *Table) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(t)
}

// ReadJSON reads results.json.
func ReadJSON(r io.Reader) (*Table, error) {
	var t Table
	if err := json.NewDecoder(r).Decode(&t); err != nil {
		return nil, fmt.Errorf("not a table of results: %w", err)
	}
	if t.Schema != SchemaVersion {
		return nil, fmt.Errorf("the table of results has format %d; this labctl reads format %d", t.Schema, SchemaVersion)
	}
	for i := range t.Rows {
		t.Rows[i].lab = journal.LabName(t.Rows[i].Cell, t.Rows[i].Run)
	}
	return &t, nil
}
