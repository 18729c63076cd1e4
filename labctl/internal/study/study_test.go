package study

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

// played are the events of a lab that made one bind and saw result.
func played(cell []string, run int, result string, holders map[string]int, verdict journal.Verdict) []journal.Event {
	lab := journal.LabName(strings.Join(cell, " "), run)
	return []journal.Event{
		{Lab: lab, LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Cell: cell, Run: run}},
		{Lab: lab, StepRun: &journal.Step{Phase: journal.PhaseEnd, Index: 1, ID: "bind new", Verb: "bind",
			Observed: &journal.Observed{Result: result, Holders: holders, Took: 7}, Verdict: verdict,
			Mismatches: []journal.Mismatch{{Field: "result", Want: "ok", Got: result}}}},
		{Lab: lab, LabInfo: &journal.Lab{Phase: journal.PhaseEnd, Verdict: verdict}},
	}
}

func header(kernel string) journal.Event {
	return journal.Event{Header: &journal.Header{Machine: journal.Machine{Kernel: kernel}, Scenario: journal.Scenario{
		Name: "study", Digest: "sha256:1", Axes: []journal.Axis{{Name: "state", Values: []string{"LISTEN", "TIME_WAIT"}}, {Name: "option", Values: []string{"none", "A"}}}}}}
}

func collect(events ...[]journal.Event) *Table {
	c := NewCollector()
	for _, some := range events {
		for _, e := range some {
			c.Add(e)
		}
	}
	return c.Table()
}

var (
	timewait = map[string]int{"TIME_WAIT": 1}
	listen   = map[string]int{"LISTEN": 1}
)

// four is a whole table, its labs ending in an order of their own.
func four(kernel, last string) [][]journal.Event {
	return [][]journal.Event{
		{header(kernel)},
		played([]string{"TIME_WAIT", "A"}, 0, last, nil, journal.Pass),
		played([]string{"LISTEN", "none"}, 0, "EADDRINUSE", listen, journal.Pass),
		played([]string{"TIME_WAIT", "none"}, 0, "EADDRINUSE", timewait, journal.Pass),
		{{Lab: "LISTEN A", LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Cell: []string{"LISTEN", "A"}}},
			{Lab: "LISTEN A", LabInfo: &journal.Lab{Phase: journal.PhaseEnd, Verdict: journal.Skipped, Skipped: "no second user"}}},
	}
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	if err := collect(four("6.1", "ok")...).CSV(&b); err != nil {
		t.Fatal(err)
	}
	want := `kernel,cell,state,option,bind new.result,bind new.holders,verdict,skip_reason
6.1,LISTEN none,LISTEN,none,EADDRINUSE,LISTEN 1,pass,
6.1,LISTEN A,LISTEN,A,,,skipped,no second user
6.1,TIME_WAIT none,TIME_WAIT,none,EADDRINUSE,TIME_WAIT 1,pass,
6.1,TIME_WAIT A,TIME_WAIT,A,ok,,pass,
`
	if diff := cmp.Diff(want, strings.ReplaceAll(b.String(), "\r\n", "\n")); diff != "" {
		t.Error(diff)
	}
}

func TestReadCSV(t *testing.T) {
	events := four("6.1", "ok")
	events = append(events, played([]string{"TIME_WAIT", "none"}, 2, "exit 98", map[string]int{}, journal.Fail))
	table := collect(events...)
	var b bytes.Buffer
	if err := table.CSV(&b); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	again, err := ReadCSV(&b)
	if err != nil {
		t.Fatal(err)
	}
	var c bytes.Buffer
	if err := again.CSV(&c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, c.String()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(table.Axes, again.Axes); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "kernel,cell,verdict", "a,b,c,d\n", "kernel,cell,x.result,x.holders,verdict,skip_reason\n6,a,E,LISTEN,pass,\n",
		"kernel,cell,verdict,skip_reason\n6,a\n", "kernel,cell,run,verdict,skip_reason\n6,a,b,pass,\n"} {
		if _, err := ReadCSV(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken for a table", bad)
		}
	}
}

func TestJSON(t *testing.T) {
	table := collect(four("6.1", "ok")...)
	var b bytes.Buffer
	if err := table.JSON(&b); err != nil {
		t.Fatal(err)
	}
	again, err := ReadJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if d := Diff(table, again); d.Differ() || len(d.Environment) > 0 || d.Alike != 3 {
		t.Errorf("read back it differs: %+v", d)
	}
	for _, bad := range []string{"", "{}", "[]", `{"schema": 99}`} {
		if _, err := ReadJSON(strings.NewReader(bad)); err == nil {
			t.Errorf("%q was taken for a table", bad)
		}
	}
}

func TestGrids(t *testing.T) {
	table := collect(append(four("6.1", "ok"), four("6.12", "ok")...)...)
	if len(table.Runs) != 2 || len(table.Rows) != 8 {
		t.Fatalf("%d runs, %d rows", len(table.Runs), len(table.Rows))
	}
	grids := table.Grids()
	// Two kernels are an axis: the fastest goes across, the largest (the first
	// of equals) down, the third makes grids.
	if len(grids) != 2 || grids[0].Columns.Name != "option" || grids[0].Rows.Name != KernelAxis {
		t.Fatalf("%d grids, the first %+v", len(grids), grids[0])
	}
	if diff := cmp.Diff([]Value{{"state", "TIME_WAIT"}}, grids[1].Fixed); diff != "" {
		t.Error(diff)
	}
	if cell := grids[1].Cells[1][0]; len(cell.Rows) != 1 || cell.Rows[0].Kernel != "6.12" || cell.Rows[0].Answers[0].String() != "EADDRINUSE (TIME_WAIT 1)" {
		t.Errorf("%+v", cell)
	}
	if s := table.Telling(); s == nil || s.ID != "bind new" {
		t.Errorf("the telling step is %v", s)
	}
}

func TestDiff(t *testing.T) {
	d := Diff(collect(four("6.1", "ok")...), collect(four("6.12", "EADDRINUSE")...))
	same := true
	want := &Difference{SameScenario: &same, Environment: []Fact{{"kernel", "6.1", "6.12"}}, Alike: 2,
		Cells: []Change{{"TIME_WAIT A", "bind new", "ok", "EADDRINUSE"}}, OnlyA: []string{}, OnlyB: []string{}}
	if diff := cmp.Diff(want, d); diff != "" || !d.Differ() {
		t.Error(diff)
	}
	skipped := collect(four("6.1", "ok")[:2]...)
	if d := Diff(collect(four("6.1", "ok")...), skipped); len(d.OnlyA) != 2 || !d.Differ() {
		t.Errorf("cells that are missing: %+v", d)
	}
}

func TestFlakes(t *testing.T) {
	cell := []string{"TIME_WAIT", "A"}
	table := collect([]journal.Event{header("6.1")}, played(cell, 1, "ok", nil, journal.Pass),
		played(cell, 2, "EADDRINUSE", timewait, journal.Fail), played(cell, 3, "ok", nil, journal.Pass))
	want := []Flake{{"6.1", "TIME_WAIT A", []FlakeAnswer{{"bind new: ok", []int{1, 3}}, {"bind new: EADDRINUSE (TIME_WAIT 1)", []int{2}}}}}
	if diff := cmp.Diff(want, table.Flakes()); diff != "" {
		t.Error(diff)
	}
	if r := table.Rows[1]; r.Cell != "TIME_WAIT A" || r.Run != 2 || r.Reason != "bind new: result: wanted ok, saw EADDRINUSE" {
		t.Errorf("%+v", r)
	}
	if len(collect(four("6.1", "ok")...).Flakes()) != 0 {
		t.Error("one run cannot differ from itself")
	}
}

func TestTimes(t *testing.T) {
	var rows []Row
	for i := range int64(40) { // 60.00 to 61.95 s
		rows = append(rows, Row{Kernel: "6.1", Answers: []Answer{{Step: "wait server", Result: "ok", Took: 60e9 + i*50e6}, {Step: "bind new", Result: "ok"}}})
	}
	all := (&Table{Rows: rows, Steps: []Step{{ID: "bind new"}, {ID: "wait server"}}}).Times()
	if len(all) != 1 || all[0].Step != "wait server" || len(all[0].Took) != 40 {
		t.Fatalf("%+v", all)
	}
	total := 0
	for _, b := range all[0].Bins {
		total += b.Count
		if b.To-b.From != 200e6 {
			t.Errorf("a bin is %d ns wide", b.To-b.From)
		}
	}
	if total != 40 || len(all[0].Bins) != 10 || all[0].Bins[0] != (Bin{60e9, 60.2e9, 4}) {
		t.Errorf("%d in %v", total, all[0].Bins)
	}
	if all[0].Quantile(0) != 60e9 || all[0].Quantile(1) != 61.95e9 || all[0].Quantile(0.5) != 61e9 {
		t.Errorf("quantiles %d %d %d", all[0].Quantile(0), all[0].Quantile(0.5), all[0].Quantile(1))
	}
	for _, few := range [][]int64{{7}, {7, 7, 7}, {0, 1e18}} {
		if b := bins(few); len(b) == 0 || len(b) > 13 {
			t.Errorf("%v: %d bins", few, len(b))
		}
	}
}
