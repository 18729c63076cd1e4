package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/study"
)

// studied is a study of two axes in which everything occurs: a failure, a skip,
// a cell whose runs differ, a cell that was never played, a hostile name.
func studied() *Study {
	c := study.NewCollector()
	c.Add(journal.Event{Header: &journal.Header{Labctl: "test", Started: "2026-01-02T03:04:05Z",
		Machine: journal.Machine{Kernel: "6.18.1", KernelBuild: "#1 SMP", Arch: "x86_64", HZ: 250, CPUs: 2},
		Scenario: journal.Scenario{Name: "by-state", File: "by-state.yaml", Digest: "sha256:00", Title: journal.Text{EN: "Which states let a restart bind?", ZH: "哪些状态允许重启时绑定？"},
			Lesson: journal.Text{EN: "Those in which *both* sockets have `SO_REUSEADDR`."},
			Axes:   []journal.Axis{{Name: "state", Values: []string{"LISTEN", "TIME_WAIT", "<b>|x"}}, {Name: "after", Values: []string{"none", "A"}}}}}})
	phase := int64(0)
	play := func(state, after string, run int, verdict journal.Verdict, result string, holders map[string]int) {
		lab := journal.LabName(state+" "+after, run)
		c.Add(journal.Event{Lab: lab, LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Cell: []string{state, after}, Run: run}})
		phase++
		end := &journal.Lab{Phase: journal.PhaseEnd, Verdict: verdict}
		if verdict == journal.Skipped {
			end.Skipped = "this kernel cannot list BOUND sockets: Linux 6.8 and later do"
		} else {
			c.Add(journal.Event{Lab: lab, StepRun: &journal.Step{Phase: journal.PhaseEnd, Index: 2, ID: "bind new", Verb: "bind", Verdict: verdict,
				Observed: &journal.Observed{Result: result, Holders: holders, Took: 60e9 + phase*phase*300e6}, Expected: []byte(`{"took": {"min": "60s"}}`),
				Mismatches: []journal.Mismatch{{Field: "result", Want: "ok", Got: result}}}})
		}
		c.Add(journal.Event{Lab: lab, LabInfo: end})
	}
	play("LISTEN", "none", 1, journal.Pass, "EADDRINUSE", map[string]int{"LISTEN": 1})
	play("LISTEN", "A", 1, journal.Fail, "EADDRINUSE", map[string]int{"LISTEN": 1, "TIME_WAIT": 2})
	play("TIME_WAIT", "none", 1, journal.Skipped, "", nil)
	play("TIME_WAIT", "A", 1, journal.Pass, "ok", nil)
	play("TIME_WAIT", "A", 2, journal.Pass, "EADDRINUSE", map[string]int{"TIME_WAIT": 1})
	play("<b>|x", "none", 1, journal.Pass, "ok", nil)
	return &Study{Table: c.Table(), Pages: map[string]string{"LISTEN none #1": "cells/LISTEN-none-1.html"}}
}

func TestStudyGolden(t *testing.T) {
	for _, f := range []struct {
		suffix string
		write  func(io.Writer, *Study) error
	}{
		{".csv", func(w io.Writer, s *Study) error { return s.CSV(w) }},
		{".json", func(w io.Writer, s *Study) error { return JSON(w, s) }},
		{".md", func(w io.Writer, s *Study) error { return Markdown(w, s) }},
		{".html", func(w io.Writer, s *Study) error { return HTML(w, s) }},
		{".xml", func(w io.Writer, s *Study) error { return JUnit(w, s) }},
		{".tap", func(w io.Writer, s *Study) error { return TAP(w, s) }},
	} {
		var b bytes.Buffer
		if err := f.write(&b, studied()); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "study"+f.suffix)
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (go test -update writes it anew):\n%s", file, diff)
		}
	}
}

func TestStudyOutcome(t *testing.T) {
	s := studied()
	if v := s.Outcome(); v != journal.Fail {
		t.Errorf("a study with a failure is %s", v)
	}
	keep := func(verdicts ...journal.Verdict) journal.Verdict {
		var rows []study.Row
		for _, v := range verdicts {
			rows = append(rows, study.Row{Cell: string(v), Verdict: v})
		}
		return (&Study{Table: &study.Table{Rows: rows}}).Outcome()
	}
	for _, c := range []struct {
		of   []journal.Verdict
		want journal.Verdict
	}{
		{[]journal.Verdict{journal.Pass, journal.Skipped}, journal.Pass},
		{[]journal.Verdict{journal.Skipped}, journal.Skipped},
		{[]journal.Verdict{journal.Fail, journal.Error}, journal.Error},
		{[]journal.Verdict{journal.Pass, journal.Incomplete}, journal.Incomplete},
		{nil, journal.Incomplete},
	} {
		if got := keep(c.of...); got != c.want {
			t.Errorf("%v come to %s, want %s", c.of, got, c.want)
		}
	}
	// Runs that differ are a failure although each passed.
	flaky := studied()
	flaky.Rows = flaky.Rows[3:5]
	if v := flaky.Outcome(); v != journal.Fail || len(flaky.Flakes()) != 1 {
		t.Errorf("runs that differ come to %s with %d flakes", v, len(flaky.Flakes()))
	}
}

// TestStudyEscapes looks for what a name may not become in any document.
func TestStudyEscapes(t *testing.T) {
	var html, xmlText bytes.Buffer
	if err := HTML(&html, studied()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(html.String(), "<b>|x") {
		t.Error("a cell's name stands in the page as markup")
	}
	if err := JUnit(&xmlText, studied()); err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(xmlText.Bytes(), &suites); err != nil || len(suites.Suites) != 1 {
		t.Fatalf("%d suites: %v", len(suites.Suites), err)
	}
	if s := suites.Suites[0]; s.Tests != 7 || s.Failures != 2 || s.Skipped != 1 {
		t.Errorf("%d tests, %d failures, %d skipped", s.Tests, s.Failures, s.Skipped)
	}
}

func TestDiffGolden(t *testing.T) {
	other := studied()
	other.Rows[0].Answers[0].Result = "ok"
	other.Rows[0].Answers[0].Holders = nil
	other.Rows = other.Rows[:5]
	other.Runs[0].Machine.Kernel = "6.1.9"
	all := []Comparison{{A: "reports/a", B: "reports/b", Difference: study.Diff(studied().Table, other.Table)},
		{A: "reports/a", B: "reports/c", Difference: study.Diff(studied().Table, studied().Table)}}
	for suffix, write := range map[string]func(io.Writer, []Comparison) error{".txt": DiffText, ".json": DiffJSON, ".html": DiffHTML} {
		var b bytes.Buffer
		if err := write(&b, all); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "diff"+suffix)
		if *update {
			if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), b.String()); diff != "" {
			t.Errorf("%s (go test -update writes it anew):\n%s", file, diff)
		}
	}
}
