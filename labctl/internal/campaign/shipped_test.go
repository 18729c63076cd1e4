package campaign_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/cli"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
	"restartlab/scenarios"
)

func TestMain(m *testing.M) {
	if code, ok := cli.Part(os.Args); ok {
		os.Exit(code)
	}
	if os.Getenv(asLabctl) != "" {
		os.Exit(cli.Main(os.Args, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func need(t testing.TB) {
	t.Helper()
	refused := (*sandbox.Refused)(nil)
	if _, err := sandbox.Examine(); errors.As(err, &refused) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
}

// shipped loads every shipped scenario.
func shipped(t testing.TB) []campaign.Item {
	t.Helper()
	var items []campaign.Item
	for _, name := range scenarios.Order {
		file := scenarios.Path(name)
		data, err := scenarios.Files.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Load(file, data, scenario.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, campaign.Item{Scenario: s, File: file})
	}
	return items
}

// article loads the article's own scenarios: those in no folder.
func article(t testing.TB) []campaign.Item {
	t.Helper()
	items := slices.DeleteFunc(shipped(t), func(i campaign.Item) bool { return strings.Contains(i.File, "/") })
	if len(items) < 11 {
		t.Fatalf("only %d scenarios of the article", len(items))
	}
	return items
}

// TestOrder holds the list of names against the files.
func TestOrder(t *testing.T) {
	var names []string
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		files, err := fs.Glob(scenarios.Files, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			names = append(names, strings.TrimSuffix(path.Base(f), ".yaml"))
		}
	}
	slices.Sort(names) // "." comes after "-"
	if ordered := slices.Sorted(slices.Values(scenarios.Order)); !slices.Equal(ordered, names) {
		t.Errorf("Order has %v, the files are %v", ordered, names)
	}
}

// outcome collects the reports of a campaign.
type outcome struct {
	reports []*report.Report // nil for a study
	studies []*report.Study  // nil for a single lab
	errs    []error
}

func (o *outcome) Event(int, journal.Event) {}

func (o *outcome) Listed(string, error) {}

func (o *outcome) Done(run int, d report.Document, _ string, err error) {
	o.errs[run] = err
	switch d := d.(type) {
	case *report.Report:
		o.reports[run] = d
	case *report.Study:
		o.studies[run] = d
	}
}

func play(t testing.TB, items []campaign.Item) (*outcome, int) {
	t.Helper()
	o := &outcome{reports: make([]*report.Report, len(items)), studies: make([]*report.Study, len(items)), errs: make([]error, len(items))}
	for i := range items { // their folders are named after them
		s := *items[i].Scenario
		s.Name = fmt.Sprintf("%s-%d", s.Name, i)
		items[i].Scenario = &s
	}
	code := campaign.Run(context.Background(), items, campaign.Options{Folder: t.TempDir(), Jobs: 24, Labctl: "test", Now: time.Now}, o)
	return o, code
}

// TestWrongExpectations replaces each field of each expectation of the article's
// scenarios, one at a time, by a wrong value. Each time the run must fail, at
// that very step and for that field.
func TestWrongExpectations(t *testing.T) {
	t.Parallel() // both wait a minute for TIME_WAIT
	need(t)
	type wrong struct {
		step  int
		field string
	}
	var items []campaign.Item
	var wrongs []wrong
	for _, item := range shipped(t) {
		if strings.Contains(item.File, "/") {
			continue // the studies have thousands
		}
		for i, step := range item.Labs[0].Steps {
			if step.Expect == nil {
				continue
			}
			for field, expect := range spoilt(step.Expect) {
				s := *item.Scenario
				s.Labs = slices.Clone(s.Labs)
				s.Labs[0].Steps = slices.Clone(s.Labs[0].Steps)
				s.Labs[0].Steps[i].Expect = expect
				s.Labs[0].Steps[i].Within = max(step.Within, 2*time.Second)
				items = append(items, campaign.Item{Scenario: &s, File: item.File})
				wrongs = append(wrongs, wrong{i, field})
			}
		}
	}
	if len(items) < 20 {
		t.Fatalf("only %d fields to replace", len(items))
	}
	got, code := play(t, items)
	if code != campaign.Failed {
		t.Errorf("exit code %d, want %d", code, campaign.Failed)
	}
	for n, w := range wrongs {
		name := fmt.Sprintf("%s, step %q, wrong %s", items[n].File, items[n].Labs[0].Steps[w.step].ID, w.field)
		r := got.reports[n]
		if r == nil || got.errs[n] != nil {
			t.Errorf("%s: %v", name, got.errs[n])
			continue
		}
		if r.Verdict != journal.Fail {
			t.Errorf("%s: verdict %s, want fail", name, r.Verdict)
		}
		for i, s := range r.Steps {
			want := journal.Pass
			switch {
			case i == w.step:
				want = journal.Fail
			case i > w.step:
				want = journal.Skipped
			}
			if s.Status != want {
				t.Errorf("%s: step %q is %s, want %s: %v", name, s.ID, s.Status, want, s.Mismatches)
			}
			if i == w.step && !slices.ContainsFunc(s.Mismatches, func(m journal.Mismatch) bool { return strings.HasPrefix(m.Field, w.field) }) {
				t.Errorf("%s: the mismatches do not name the field: %v", name, s.Mismatches)
			}
		}
	}
	t.Logf("%d fields replaced, each failed at its step", len(items))
}

// spoilt returns copies of e with one field each made wrong.
func spoilt(e *scenario.Expect) map[string]*scenario.Expect {
	all := map[string]*scenario.Expect{}
	spoil := func(field string, change func(*scenario.Expect)) {
		c := *e
		change(&c)
		all[field] = &c
	}
	other := func(word string) string {
		if word == "EACCES" {
			return "EPERM"
		}
		return "EACCES"
	}
	if e.Result != "" {
		spoil("result", func(c *scenario.Expect) { c.Result = other(e.Result) })
	}
	if e.Bind != "" {
		spoil("bind", func(c *scenario.Expect) { c.Bind = other(e.Bind) })
	}
	if e.Listen != "" {
		spoil("listen", func(c *scenario.Expect) { c.Listen = other(e.Listen) })
	}
	if e.Connect != "" {
		spoil("connect", func(c *scenario.Expect) { c.Connect = other(e.Connect) })
	}
	if e.Exit != nil {
		spoil("exit", func(c *scenario.Expect) { c.Exit = scenario.Exactly(77) })
	}
	if e.Signal != "" {
		spoil("signal", func(c *scenario.Expect) { c.Signal = "SIGSEGV" })
	}
	if e.Lines != nil {
		spoil("lines", func(c *scenario.Expect) { c.Lines = append(slices.Clone(e.Lines), "a line that nobody prints") })
	}
	tally := func(field string, t scenario.Tally, set func(*scenario.Expect, scenario.Tally)) {
		if t != nil {
			more := maps.Clone(t)
			more["CLOSING"] = scenario.Exactly(3)
			spoil(field, func(c *scenario.Expect) { set(c, more) })
		}
	}
	tally("holders", e.Holders, func(c *scenario.Expect, t scenario.Tally) { c.Holders = t })
	tally("states", e.States, func(c *scenario.Expect, t scenario.Tally) { c.States = t })
	if e.Queued != nil {
		spoil("queued", func(c *scenario.Expect) { c.Queued = scenario.Exactly(77) })
	}
	if e.Took != nil {
		spoil("took", func(c *scenario.Expect) {
			c.Took = &scenario.Took{Since: e.Took.Since, Amount: *scenario.Exactly(int64(time.Hour))}
		})
	}
	return all
}

// TestShipped plays every shipped scenario as it is, side by side. Without root
// cells that need another user are skipped.
func TestShipped(t *testing.T) {
	t.Parallel()
	need(t)
	items := shipped(t)
	got, code := play(t, items)
	skipped := 0
	for n, item := range items {
		r, table := got.reports[n], got.studies[n]
		switch {
		case r == nil && table == nil:
			t.Errorf("%s: there is no report: %v", item.File, got.errs[n])
		case r != nil && r.Verdict != journal.Pass:
			t.Errorf("%s: not passed: %v", item.File, got.errs[n])
			report.TAP(os.Stderr, r)
		case table != nil && len(table.Rows) != len(item.Labs):
			t.Errorf("%s: %d rows for %d cells", item.File, len(table.Rows), len(item.Labs))
		case table != nil:
			for _, row := range table.Rows {
				switch {
				case row.Verdict == journal.Skipped && row.Skipped != "" && os.Geteuid() != 0:
					t.Logf("%s, %s: skipped: %s", item.File, row.Cell, row.Skipped)
					skipped++
				case row.Verdict != journal.Pass:
					t.Errorf("%s, %s: %s: %s%s", item.File, row.Cell, row.Verdict, row.Reason, row.Skipped)
				}
			}
		}
	}
	if code != campaign.OK && !(skipped > 0 && code == campaign.Impossible) {
		t.Errorf("exit code %d", code)
	}
}
