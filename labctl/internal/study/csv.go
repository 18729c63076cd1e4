package study

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

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

// ReadCSV reads results.csv. The axes' values come in the order of the rows, and
// nothing is known of the machines but the kernels' names.
func ReadCSV(r io.Reader) (*Table, error) {
	c := csv.NewReader(r)
	c.ReuseRecord = true
	head, err := c.Read()
	if err != nil || len(head) < 4 || head[0] != "kernel" || head[1] != "cell" ||
		head[len(head)-2] != "verdict" || head[len(head)-1] != "skip_reason" {
		return nil, errors.New("not a table of results: its first row does not name kernel, cell, ... verdict, skip_reason")
	}
	head = slices.Clone(head)
	t := &Table{Schema: SchemaVersion, Axes: []journal.Axis{}}
	for _, name := range head {
		if id, ok := strings.CutSuffix(name, ".result"); ok {
			t.Steps = append(t.Steps, Step{ID: id})
		}
	}
	for line := 2; ; line++ {
		record, err := c.Read()
		if err == io.EOF {
			return t, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the table of results: %w", err)
		}
		row := Row{Values: []string{}, Answers: []Answer{}}
		for i, name := range head {
			if err := row.field(t, name, record[i], i == 2); err != nil {
				return nil, fmt.Errorf("row %d of the table of results: %s: %w", line, name, err)
			}
		}
		row.lab = journal.LabName(row.Cell, row.Run)
		if !slices.Contains(t.Kernels(), row.Kernel) {
			t.Runs = append(t.Runs, Run{Machine: journal.Machine{Kernel: row.Kernel}})
		}
		t.Rows = append(t.Rows, row)
	}
}

// field takes one field of a row. Which column it is its name tells; run is one
// only at the third place, elsewhere an axis may be called so.
func (r *Row) field(t *Table, name, value string, third bool) (err error) {
	id, part, dotted := cutLast(name)
	switch {
	case name == "kernel":
		r.Kernel = value
	case name == "cell":
		r.Cell = value
	case name == "run" && third:
		r.Run, err = strconv.Atoi(value)
	case name == "verdict":
		r.Verdict = journal.Verdict(value)
	case name == "skip_reason":
		r.Skipped = value
	case dotted && slices.ContainsFunc(t.Steps, func(s Step) bool { return s.ID == id }):
		if value == "" {
			return nil
		}
		a := r.Answer(id)
		if a == nil {
			r.Answers = append(r.Answers, Answer{Step: id})
			a = &r.Answers[len(r.Answers)-1]
		}
		return a.field(part, value)
	default:
		r.Values = append(r.Values, value)
		i := len(r.Values) - 1
		if i == len(t.Axes) {
			t.Axes = append(t.Axes, journal.Axis{Name: name})
		}
		if axis := &t.Axes[i]; !slices.Contains(axis.Values, value) {
			axis.Values = append(axis.Values, value)
		}
	}
	return err
}

func cutLast(name string) (id, part string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", "", false
	}
	return name[:i], name[i+1:], true
}

// field takes one field of an answer.
func (a *Answer) field(part, value string) (err error) {
	switch part {
	case "result":
		a.Result = value
	case "holders":
		a.Holders, err = readTally(value)
	case "states":
		a.States, err = readTally(value)
	case "results":
		a.Results, err = readTally(value)
	case "text":
		a.Text = value
	case "queued":
		var n int
		n, err = strconv.Atoi(value)
		a.Queued = &n
	case "took_ns":
		a.Took, err = strconv.ParseInt(value, 10, 64)
	}
	return err
}

// readTally reads what Tally writes.
func readTally(text string) (map[string]int, error) {
	t := map[string]int{}
	if text == "none" {
		return t, nil
	}
	for part := range strings.SplitSeq(text, ", ") {
		i := strings.LastIndexByte(part, ' ')
		n, err := strconv.Atoi(part[i+1:])
		if i < 1 || err != nil {
			return nil, fmt.Errorf("%q is no tally such as TIME_WAIT 1, LISTEN 2", text)
		}
		t[part[:i]] = n
	}
	return t, nil
}
