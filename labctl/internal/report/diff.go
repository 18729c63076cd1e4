package report

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"

	"restartlab/labctl/internal/study"
)

// Comparison is what the answers of B have not alike with those of A.
type Comparison struct {
	A                 string `json:"a"` // as the user named it
	B                 string `json:"b"`
	*study.Difference `json:"difference"`
}

//go:embed diff.html
var diffText string

// DiffText writes comparisons for a terminal.
func DiffText(w io.Writer, all []Comparison) error {
	var b strings.Builder
	for i, c := range all {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "A  %s\nB  %s\n", clean(c.A), clean(c.B))
		if c.SameScenario != nil && !*c.SameScenario {
			b.WriteString("They are not of the same scenario: its text or its settings differ.\n")
		}
		for _, f := range c.Environment {
			fmt.Fprintf(&b, "%s: %s in A, %s in B\n", clean(f.Name), clean(f.A), clean(f.B))
		}
		for _, ch := range c.Cells {
			fmt.Fprintf(&b, "\n%s: %s\n  A  %s\n  B  %s\n", clean(ch.Cell), clean(ch.What()), clean(ch.A), clean(ch.B))
		}
		for _, only := range c.only() {
			fmt.Fprintf(&b, "\n%s: %s\n", only.Side, clean(strings.Join(only.Cells, ", ")))
		}
		fmt.Fprintf(&b, "\n%s\n", c.headline())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// DiffJSON writes an array of comparisons.
func DiffJSON(w io.Writer, all []Comparison) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(all)
}

// DiffHTML writes a page of comparisons that loads nothing.
func DiffHTML(w io.Writer, all []Comparison) error {
	t, err := template.New("diff").Parse(diffText)
	if err != nil {
		return err
	}
	type change struct{ Cell, What, A, B string }
	type view struct {
		A, B, Head   string
		Differ, Same bool
		Environment  []study.Fact
		Changes      []change
		Only         []only
	}
	var views []view
	for _, c := range all {
		v := view{A: clean(c.A), B: clean(c.B), Head: c.headline(), Differ: c.Differ(), Same: c.SameScenario == nil || *c.SameScenario, Only: c.only()}
		for _, f := range c.Environment {
			v.Environment = append(v.Environment, study.Fact{Name: clean(f.Name), A: clean(f.A), B: clean(f.B)})
		}
		for _, ch := range c.Cells {
			v.Changes = append(v.Changes, change{clean(ch.Cell), clean(ch.What()), clean(ch.A), clean(ch.B)})
		}
		for i := range v.Only {
			v.Only[i].Cells = []string{clean(strings.Join(v.Only[i].Cells, ", "))}
		}
		views = append(views, v)
	}
	return t.Execute(w, struct {
		Style template.CSS
		All   []view
	}{template.CSS(pageStyle + studyStyle), views})
}

// headline says in a sentence how much differs.
func (c Comparison) headline() string {
	if !c.Differ() {
		return fmt.Sprintf("The answers are the same: %s.", count(c.Alike, "cell"))
	}
	cells := map[string]bool{}
	for _, ch := range c.Cells {
		cells[ch.Cell] = true
	}
	text := fmt.Sprintf("%s differently, %d alike", plural(len(cells), "cell answered", "cells answered"), c.Alike)
	for _, o := range c.only() {
		text += fmt.Sprintf(", %d %s", len(o.Cells), o.Side)
	}
	return text + "."
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// only are cells that one side alone has played.
type only struct {
	Side  string
	Cells []string
}

func (c Comparison) only() (all []only) {
	if len(c.OnlyA) > 0 {
		all = append(all, only{"in A alone", c.OnlyA})
	}
	if len(c.OnlyB) > 0 {
		all = append(all, only{"in B alone", c.OnlyB})
	}
	return all
}
