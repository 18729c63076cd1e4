package report

import (
	"fmt"
	"slices"
	"strings"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/study"
)

func (s *Study) title() string {
	if s.Scenario.Title.EN != "" {
		return s.Scenario.Title.EN
	}
	return s.Scenario.Name
}

// Headline says in a sentence how the labs went.
func (s *Study) Headline() string {
	n := s.Count()
	total := len(s.Rows)
	what := "cell"
	if s.repeated() {
		what = "lab"
	}
	var parts []string
	if n[journal.Pass] > 0 {
		parts = append(parts, fmt.Sprintf("%d of %s passed", n[journal.Pass], count(total, what)))
	} else {
		parts = append(parts, "none of "+count(total, what)+" passed")
	}
	for _, g := range []struct {
		v    journal.Verdict
		said string
	}{{journal.Fail, "failed"}, {journal.Error, "could not run"}, {journal.Incomplete, "did not end"}, {journal.Skipped, "skipped"}} {
		if n[g.v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[g.v], g.said))
		}
	}
	if f := len(s.Flakes()); f > 0 {
		parts = append(parts, count(f, "cell")+" answered differently from run to run")
	}
	return strings.Join(parts, ", ")
}

func (s *Study) repeated() bool {
	return slices.ContainsFunc(s.Rows, func(r study.Row) bool { return r.Run != 0 })
}

// tone is how an answer is coloured: "ok", "refused" or "other"; of several that
// differ "mixed".
func tone(rows []*study.Row, step string) string {
	t := ""
	for _, r := range rows {
		mine := "none"
		switch a := r.Answer(step); {
		case r.Verdict == journal.Skipped:
			mine = "skipped"
		case a == nil:
		case a.Result == "ok":
			mine = "ok"
		case strings.HasPrefix(a.Result, "E"):
			mine = "refused"
		default:
			mine = "other"
		}
		if t != "" && t != mine {
			return "mixed"
		}
		t = mine
	}
	return t
}

// saying is an answer in a grid: the word, and what adds to it.
type saying struct{ Word, More string }

// said is what the runs of a cell answered, each different answer once.
func said(rows []*study.Row, step string) []saying {
	var all []saying
	for _, r := range rows {
		var one saying
		switch a := r.Answer(step); {
		case a != nil:
			one = saying{a.Result, more(r, a)}
		case r.Verdict == journal.Skipped:
			one.Word = "skipped"
		case r.Verdict == journal.Pass:
			one.Word = "no such step"
		default:
			one.Word = "not reached"
		}
		if !slices.Contains(all, one) {
			all = append(all, one)
		}
	}
	return all
}

// more is what an answer adds to its word. One holder in the state that the cell
// is named after adds nothing.
func more(r *study.Row, a *study.Answer) string {
	short := *a
	for state, n := range a.Holders {
		if len(a.Holders) == 1 && n == 1 && slices.Contains(r.Values, state) {
			short.Holders = nil
		}
	}
	return strings.Trim(strings.TrimPrefix(short.String(), a.Result), " ()")
}

func (s saying) String() string {
	if s.More == "" {
		return s.Word
	}
	return s.Word + " (" + s.More + ")"
}

// worstOf is the verdict that a cell of several runs is marked with.
func worstOf(rows []*study.Row) journal.Verdict {
	for _, v := range []journal.Verdict{journal.Error, journal.Incomplete, journal.Fail, journal.Skipped} {
		if slices.ContainsFunc(rows, func(r *study.Row) bool { return r.Verdict == v }) {
			return v
		}
	}
	return journal.Pass
}

// fixed names what a grid has in common: "before A, kernel 6.1".
func fixed(g study.Grid) string {
	parts := make([]string, len(g.Fixed))
	for i, v := range g.Fixed {
		parts[i] = v.Axis + " " + v.Value
	}
	return strings.Join(parts, ", ")
}

// troubles are the rows that want an explanation, each with its.
func (s *Study) troubles() (failed, skipped []*study.Row) {
	for i := range s.Rows {
		switch r := &s.Rows[i]; r.Verdict {
		case journal.Pass:
		case journal.Skipped:
			skipped = append(skipped, r)
		default:
			failed = append(failed, r)
		}
	}
	return failed, skipped
}

// where names a row: its cell, its run if there are several, its kernel if there
// are several.
func (s *Study) where(r *study.Row) string {
	name := journal.LabName(r.Cell, r.Run)
	if len(s.Kernels()) > 1 {
		name += " on " + r.Kernel
	}
	return name
}

func reason(r *study.Row) string {
	switch {
	case r.Skipped != "":
		return r.Skipped
	case r.Reason != "":
		return r.Reason
	case r.Verdict == journal.Incomplete:
		return "the run ended before it did"
	}
	return string(r.Verdict)
}

// machines are the facts of the runs as rows of a table.
func (s *Study) machines() [][2]string {
	var rows [][2]string
	for _, r := range s.Runs {
		m := r.Machine
		rows = append(rows, [2]string{"kernel", strings.TrimSpace(m.Kernel + " " + m.KernelBuild)},
			[2]string{"machine", fmt.Sprintf("%s, %s", m.Arch, count(m.CPUs, "CPU"))})
		if m.HZ != 0 {
			rows = append(rows, [2]string{"HZ", fmt.Sprint(m.HZ)})
		}
		if m.OS != "" {
			rows = append(rows, [2]string{"system", m.OS})
		}
		privilege := "root"
		if r.Rootless {
			privilege = "none (user namespace)"
		}
		rows = append(rows, [2]string{"privilege", privilege}, [2]string{"labctl", r.Labctl}, [2]string{"started", r.Started})
	}
	return append(rows, [2]string{"scenario", s.Scenario.File + ", " + s.Scenario.Digest})
}
