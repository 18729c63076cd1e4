package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"restartlab/labctl/internal/study"
)

// Compared is what several kernels answered differently to the same scenarios: one
// table of all that differs.
type Compared struct {
	Kernels []string      `json:"kernels"` // as the user named them
	Rows    []ComparedRow `json:"rows"`
	// Alike is how many cells all kernels answered alike; a scenario without a
	// matrix is one cell.
	Alike int `json:"alike"`
}

// ComparedRow is one answer that is not the same on all kernels.
type ComparedRow struct {
	Scenario string   `json:"scenario"`
	Cell     string   `json:"cell,omitempty"` // of a matrix
	Step     string   `json:"step"`           // its id, or "verdict" where no step's answer differs
	Answers  []string `json:"answers"`        // one for each kernel
}

// notPlayed is the answer of a kernel that has not played a cell.
const notPlayed = "not played"

// Add compares the tables of one scenario, one for each kernel. The first is what
// the others are compared with.
func (c *Compared) Add(scenario string, tables []*study.Table) {
	differ := map[string]bool{}
	first := study.Diff(tables[0], tables[0])
	row := func(cell, step, base string) *ComparedRow {
		differ[cell] = true
		name := cell
		if cell == scenario {
			name = ""
		}
		i := slices.IndexFunc(c.Rows, func(r ComparedRow) bool { return r.Scenario == scenario && r.Cell == name && r.Step == step })
		if i < 0 {
			r := ComparedRow{Scenario: scenario, Cell: name, Step: step}
			for range tables {
				r.Answers = append(r.Answers, base)
			}
			c.Rows = append(c.Rows, r)
			i = len(c.Rows) - 1
		}
		return &c.Rows[i]
	}
	for n, t := range tables[1:] {
		d := study.Diff(tables[0], t)
		for _, change := range d.Cells {
			row(change.Cell, change.What(), change.A).Answers[n+1] = change.B
		}
		for _, cell := range d.OnlyA {
			row(cell, "verdict", "played").Answers[n+1] = notPlayed
		}
		for _, cell := range d.OnlyB {
			row(cell, "verdict", notPlayed).Answers[n+1] = "played"
		}
	}
	c.Alike += max(0, first.Alike-len(differ))
}

// Differ reports whether any answer differs.
func (c *Compared) Differ() bool { return len(c.Rows) > 0 }

// headline says in a sentence how much differs.
func (c *Compared) headline() string {
	if !c.Differ() {
		return fmt.Sprintf("%s answer alike: %s.", strings.Join(c.Kernels, ", "), count(c.Alike, "cell"))
	}
	return fmt.Sprintf("%s; %s alike on all of %s.", plural(len(c.Rows), "answer differs", "answers differ"), count(c.Alike, "cell"), strings.Join(c.Kernels, ", "))
}

// CompareText writes the table for a terminal.
func CompareText(w io.Writer, c *Compared) error {
	var b strings.Builder
	if c.Differ() {
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintf(t, "scenario\tcell\tstep\t%s\n", clean(strings.Join(c.Kernels, "\t")))
		for _, r := range c.Rows {
			fields := []string{clean(r.Scenario), clean(r.Cell), clean(r.Step)}
			for _, a := range r.Answers {
				fields = append(fields, clean(a))
			}
			fmt.Fprintln(t, strings.Join(fields, "\t"))
		}
		if err := t.Flush(); err != nil {
			return err
		}
		b.WriteString("\n")
	}
	b.WriteString(clean(c.headline()) + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// CompareJSON writes it as one object.
func CompareJSON(w io.Writer, c *Compared) error {
	out := *c
	if out.Rows == nil {
		out.Rows = []ComparedRow{}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

//go:embed compare.html
var compareText string

// CompareHTML writes a page that loads nothing.
func CompareHTML(w io.Writer, c *Compared) error {
	t, err := template.New("compare").Parse(compareText)
	if err != nil {
		return err
	}
	v := struct {
		Style   template.CSS
		Head    string
		Differ  bool
		Kernels []string
		Rows    []ComparedRow
	}{template.CSS(pageStyle + studyStyle), clean(c.headline()), c.Differ(), nil, nil}
	for _, k := range c.Kernels {
		v.Kernels = append(v.Kernels, clean(k))
	}
	for _, r := range c.Rows {
		shown := ComparedRow{Scenario: clean(r.Scenario), Cell: clean(r.Cell), Step: clean(r.Step)}
		for _, a := range r.Answers {
			shown.Answers = append(shown.Answers, clean(a))
		}
		v.Rows = append(v.Rows, shown)
	}
	return t.Execute(w, v)
}
