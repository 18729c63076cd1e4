package report

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"restartlab/labctl/internal/journal"
)

// TAP writes runs in the Test Anything Protocol, version 14: a test point a step,
// or of a study a cell, with YAML diagnostics. Several runs are subtests, a test
// point each.
func TAP(w io.Writer, runs ...Document) error {
	b := bufio.NewWriter(w)
	b.WriteString("TAP version 14\n")
	if len(runs) == 1 {
		runs[0].tap(b)
		return b.Flush()
	}
	fmt.Fprintf(b, "1..%d\n", len(runs))
	for i, r := range runs {
		fmt.Fprintf(b, "# Subtest: %s\n", tapText(r.name()))
		var sub bytes.Buffer
		r.tap(&sub)
		for line := range strings.Lines(sub.String()) {
			b.WriteString("    " + line)
		}
		result := "not ok"
		if r.Outcome() == journal.Pass {
			result = "ok"
		}
		fmt.Fprintf(b, "%s %d - %s\n", result, i+1, tapText(r.name()))
	}
	return b.Flush()
}

// tapWriter is a buffer: its errors come with its flush, or never.
type tapWriter interface {
	io.Writer
	io.StringWriter
}

// tap writes the plan and the test points of one run.
func (r *Report) tap(b tapWriter) {
	fmt.Fprintf(b, "1..%d", len(r.Steps))
	if len(r.Steps) == 0 {
		b.WriteString(" # SKIP no step was reached")
	}
	b.WriteString("\n")
	if lost := r.losses(); lost != "" {
		fmt.Fprintf(b, "# %s: the report has gaps\n", lost)
	}
	for i := range r.Steps {
		s := &r.Steps[i]
		result, directive := "not ok", ""
		switch s.Status {
		case journal.Pass:
			result = "ok"
		case journal.Skipped:
			result, directive = "ok", " # SKIP "+s.why()
		}
		fmt.Fprintf(b, "%s %d - %s%s\n", result, i+1, tapText(s.name()), directive)
		if directive != "" {
			continue
		}
		b.WriteString("  ---\n")
		fmt.Fprintf(b, "  duration_ms: %.3f\n", float64(s.Duration)/1e6)
		if s.Line != 0 {
			fmt.Fprintf(b, "  at: %s\n", quote(fmt.Sprintf("%s:%d", r.Scenario.File, s.Line)))
		}
		if s.Status != journal.Pass {
			fmt.Fprintf(b, "  message: %s\n  expected: %s\n  seen: %s\n", quote(s.why()), quote(s.expected()), quote(s.observed()))
		}
		refused := of(r.refused(), s.Index, func(b Bind) int { return b.Step })
		if len(refused) > 0 {
			b.WriteString("  refused:\n")
		}
		for _, x := range refused {
			fmt.Fprintf(b, "    - %s\n", quote(fmt.Sprintf("%s %s: %s", x.Call, x.at(), x.Explanation)))
		}
		b.WriteString("  ...\n")
	}
	if r.Verdict == journal.Error || r.Verdict == journal.Incomplete {
		why := r.headline()
		if r.Error != "" {
			why = r.Error
		}
		fmt.Fprintf(b, "Bail out! %s\n", tapText(why))
	}
}

// tapText is a text on one line, with what TAP takes for a directive escaped.
func tapText(s string) string {
	return strings.NewReplacer(`\`, `\\`, "#", `\#`).Replace(clean(strings.Join(strings.Fields(s), " ")))
}

// quote is a YAML double-quoted scalar; JSON's strings are such.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(clean(s)); err != nil {
		return `""` // strings always encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}
