// Package study is the table of answers that many labs of one scenario gave: a
// row for each cell of its matrix, each run of it and each kernel.
//
// It is pure. The same journals give the same table: nothing comes from the
// clock, the machine, or the order in which labs that ran side by side came to
// their ends. It holds what was seen, never what was expected to be.
package study

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"

	"restartlab/labctl/internal/journal"
)

// SchemaVersion is the version of results.json, stated in its field schema. It
// grows when a field changes its meaning or goes, not when one is added.
const SchemaVersion = 1

// Table is results.json.
type Table struct {
	Schema   int      `json:"schema"`
	Scenario Scenario `json:"scenario"`
	// Axes are those of the matrix, with the names of their values in the order
	// written; none if the scenario has no matrix.
	Axes []journal.Axis `json:"axes"`
	// Runs are the journals that the rows come from, in the order given.
	Runs []Run `json:"runs"`
	// Steps are those that any row has, in the scenario's order.
	Steps []Step `json:"steps"`
	Rows  []Row  `json:"rows"`
}

// Scenario is what was asked.
type Scenario struct {
	Name   string            `json:"name"`
	File   string            `json:"file"`
	Digest string            `json:"digest"` // of the scenario's text
	Title  journal.Text      `json:"title,omitzero"`
	Lesson journal.Text      `json:"lesson,omitzero"`
	Set    map[string]string `json:"set,omitempty"`
}

// Run is one journal: where its labs ran.
type Run struct {
	Machine  journal.Machine `json:"machine"`
	Labctl   string          `json:"labctl"`
	Started  string          `json:"started"`
	Rootless bool            `json:"rootless"`
	// Sysctls are, by host, the settings that every lab of the run had.
	Sysctls map[string]map[string]string `json:"sysctls"`
}

// Step is a column of the table.
type Step struct {
	ID    string       `json:"id"`
	Verb  string       `json:"verb"`
	Title journal.Text `json:"title,omitzero"`
}

// Row is the answer of one lab.
type Row struct {
	Kernel string `json:"kernel"`
	// Run counts the runs of a cell from 1; 0 if each has one.
	Run  int    `json:"run,omitempty"`
	Cell string `json:"cell"` // the lab's name without its run
	// Values are the names of the cell's values, one for each axis.
	Values  []string `json:"values"`
	Answers []Answer `json:"answers"` // of the steps that ended, in order
	// Verdict is pass, fail, error, skipped (this machine lacks something) or
	// incomplete.
	Verdict journal.Verdict `json:"verdict"`
	// Skipped is what the machine lacks, Reason why the verdict is fail or
	// error: the step and what it saw.
	Skipped string `json:"skip_reason,omitempty"`
	Reason  string `json:"reason,omitempty"`

	lab     string // its name in the journal
	journal int    // which
}

// Lab is the row's lab by its name in the journal, and which of the journals.
func (r *Row) Lab() (journal int, name string) { return r.journal, r.lab }

// Answer is what one step saw, in the words of expectations.
type Answer struct {
	Step string `json:"step"`
	// Result is "ok", the name of the errno that the step's call was refused
	// with, "exit 98" or "SIGKILL" for a program that ended so, or "failed".
	Result  string         `json:"result"`
	Holders map[string]int `json:"holders,omitempty"` // who held the port, by state
	States  map[string]int `json:"states,omitzero"`   // the host's sockets on the port, by state
	Results map[string]int `json:"results,omitempty"` // of several sockets alike
	Text    string         `json:"text,omitempty"`
	Queued  *int           `json:"queued,omitempty"`
	// Port and Took may differ from run to run of the same kernel, and no
	// comparison looks at them.
	Port *int  `json:"port,omitempty"`
	Took int64 `json:"took_ns,omitempty"`
}

// Answer finds the row's answer to a step.
func (r *Row) Answer(step string) *Answer {
	if i := slices.IndexFunc(r.Answers, func(a Answer) bool { return a.Step == step }); i >= 0 {
		return &r.Answers[i]
	}
	return nil
}

// Collector makes a table of the events of journals, one journal after another.
type Collector struct {
	table Table
	labs  map[string]*Row // of the journal under way
	rows  []*Row
	steps map[string]place
}

// place is where a step stands in its scenario.
type place struct {
	Step
	line, index int
}

// NewCollector begins an empty table.
func NewCollector() *Collector { return &Collector{steps: map[string]place{}} }

// Add takes the next event. A header begins the next journal. Events of one
// lab must come in their order, those of different labs need not.
func (c *Collector) Add(e journal.Event) {
	switch {
	case e.Header != nil:
		c.begin(e.Header)
	case e.Lab == "" || len(c.table.Runs) == 0:
	case e.LabInfo != nil:
		c.lab(e)
	case e.Change != nil && e.Change.What == "up":
		c.settings(e)
	case e.StepRun != nil:
		c.step(c.row(e.Lab), e.StepRun)
	}
}

func (c *Collector) begin(h *journal.Header) {
	t, s := &c.table, h.Scenario
	if len(t.Runs) == 0 {
		t.Schema = SchemaVersion
		t.Scenario = Scenario{Name: s.Name, File: s.File, Digest: s.Digest, Title: s.Title, Lesson: s.Lesson, Set: s.Set}
	}
	for _, a := range s.Axes {
		c.axis(a)
	}
	t.Runs = append(t.Runs, Run{Machine: h.Machine, Labctl: h.Labctl, Started: h.Started, Rootless: h.Rootless,
		Sysctls: map[string]map[string]string{}})
	c.labs = map[string]*Row{}
}

// axis adds an axis, or to a known one the values that another journal has.
func (c *Collector) axis(a journal.Axis) {
	i := slices.IndexFunc(c.table.Axes, func(o journal.Axis) bool { return o.Name == a.Name })
	if i < 0 {
		c.table.Axes = append(c.table.Axes, journal.Axis{Name: a.Name, Values: slices.Clone(a.Values)})
		return
	}
	known := &c.table.Axes[i]
	for _, v := range a.Values {
		if !slices.Contains(known.Values, v) {
			known.Values = append(known.Values, v)
		}
	}
}

// Row is the row of a lab of the journal under way, as far as it has come. The
// collector goes on to change it.
func (c *Collector) Row(lab string) *Row { return c.row(lab) }

func (c *Collector) row(lab string) *Row {
	r := c.labs[lab]
	if r == nil {
		n := len(c.table.Runs) - 1
		r = &Row{Kernel: c.table.Runs[n].Machine.Kernel, Cell: lab, Values: []string{}, Answers: []Answer{},
			Verdict: journal.Incomplete, lab: lab, journal: n}
		c.labs[lab] = r
		c.rows = append(c.rows, r)
	}
	return r
}

func (c *Collector) lab(e journal.Event) {
	r, l := c.row(e.Lab), e.LabInfo
	switch l.Phase {
	case journal.PhaseBegin:
		r.Run = l.Run
		r.Cell = journal.CellName(e.Lab, l.Run)
		if l.Cell != nil {
			r.Values = l.Cell
		}
	case journal.PhaseEnd:
		r.Verdict, r.Skipped = l.Verdict, l.Skipped
		if l.Error != "" {
			r.Reason = l.Error
		}
	}
}

// settings keeps what all labs of a run have alike.
func (c *Collector) settings(e journal.Event) {
	run := &c.table.Runs[len(c.table.Runs)-1]
	all := run.Sysctls[e.Host]
	if all == nil {
		run.Sysctls[e.Host] = maps.Clone(e.Change.Sysctls)
		return
	}
	maps.DeleteFunc(all, func(name, value string) bool {
		other, ok := e.Change.Sysctls[name]
		return !ok || other != value
	})
}

func (c *Collector) step(r *Row, s *journal.Step) {
	if s.Phase != journal.PhaseEnd || s.Observed == nil {
		return
	}
	if _, known := c.steps[s.ID]; !known {
		c.steps[s.ID] = place{Step: Step{ID: s.ID, Verb: s.Verb, Title: s.Title}, line: s.Line, index: s.Index}
	}
	o := s.Observed
	r.Answers = append(r.Answers, Answer{Step: s.ID, Result: result(o), Holders: o.Holders, States: o.States,
		Results: o.Results, Text: o.Text, Queued: o.Queued, Port: o.Port, Took: timed(s)})
	if s.Verdict == journal.Fail && len(s.Mismatches) > 0 {
		m := s.Mismatches[0]
		r.Reason = s.ID + ": " + m.Field + ": wanted " + m.Want + ", saw " + m.Got
	}
}

// timed is how long a step took, if its expectation asks for that: of others
// it says more of the machine than of the kernel.
func timed(s *journal.Step) int64 {
	var asked struct{ Took json.RawMessage }
	if json.Unmarshal(s.Expected, &asked) != nil || asked.Took == nil {
		return 0
	}
	return s.Observed.Took
}

// result is a step's answer in one word.
func result(o *journal.Observed) string {
	if o.Result != "" {
		return o.Result
	}
	for _, call := range []string{o.Bind, o.Listen, o.Connect} {
		if call != "" && call != "ok" {
			return call
		}
	}
	switch {
	case o.Signal != "":
		return o.Signal
	case o.Exit != nil && *o.Exit != 0:
		return "exit " + number(*o.Exit)
	case o.Failure != "":
		return "failed"
	}
	return "ok"
}

// Table is the table of all events so far. The collector must not be used
// afterwards.
func (c *Collector) Table() *Table {
	t := &c.table
	if t.Axes == nil {
		t.Axes = []journal.Axis{}
	}
	places := slices.SortedFunc(maps.Values(c.steps), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(a.line, b.line), cmp.Compare(a.ID, b.ID))
	})
	t.Steps = make([]Step, len(places))
	for i, p := range places {
		t.Steps[i] = p.Step
	}
	t.Rows = make([]Row, len(c.rows))
	for i, r := range c.rows {
		t.Rows[i] = *r
	}
	slices.SortStableFunc(t.Rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(a.journal, b.journal), t.byCell(a, b), cmp.Compare(a.Run, b.Run))
	})
	return t
}

// byCell is the order of the matrix, the last axis varying fastest.
func (t *Table) byCell(a, b Row) int {
	for i, axis := range t.Axes {
		if i >= len(a.Values) || i >= len(b.Values) {
			break
		}
		if d := cmp.Compare(slices.Index(axis.Values, a.Values[i]), slices.Index(axis.Values, b.Values[i])); d != 0 {
			return d
		}
	}
	return cmp.Compare(a.Cell, b.Cell)
}

// Count is how many rows have each verdict.
func (t *Table) Count() map[journal.Verdict]int {
	n := map[journal.Verdict]int{}
	for _, r := range t.Rows {
		n[r.Verdict]++
	}
	return n
}

// Flake is a cell whose runs on one kernel gave different answers.
type Flake struct {
	Kernel, Cell string
	// Answers are the different ones, as many runs as gave them, the most
	// frequent first.
	Answers []FlakeAnswer
}

// FlakeAnswer is one of the answers of a flake.
type FlakeAnswer struct {
	Text string
	Runs []int
}

// Flakes are the cells whose runs differ in anything but ports and times.
func (t *Table) Flakes() (flakes []Flake) {
	type key struct{ kernel, cell string }
	seen := map[key]map[string][]int{}
	var order []key
	for i := range t.Rows {
		r := &t.Rows[i]
		if r.Verdict == journal.Skipped || r.Verdict == journal.Incomplete {
			continue
		}
		k := key{r.Kernel, r.Cell}
		if seen[k] == nil {
			seen[k] = map[string][]int{}
			order = append(order, k)
		}
		text := r.String()
		seen[k][text] = append(seen[k][text], r.Run)
	}
	for _, k := range order {
		if len(seen[k]) < 2 {
			continue
		}
		f := Flake{Kernel: k.kernel, Cell: k.cell}
		for text, runs := range seen[k] {
			f.Answers = append(f.Answers, FlakeAnswer{text, runs})
		}
		slices.SortFunc(f.Answers, func(a, b FlakeAnswer) int {
			return cmp.Or(cmp.Compare(len(b.Runs), len(a.Runs)), cmp.Compare(a.Text, b.Text))
		})
		flakes = append(flakes, f)
	}
	return flakes
}
