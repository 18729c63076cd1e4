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

// TAP writes the run in the Test Anything Protocol, version 14: a test point a
// step, with YAML diagnostics.
func TAP(w io.Writer, r *Report) error {
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "TAP version 14\n1..%d", len(r.Steps))
	if len(r.Steps) == 0 {
		b.WriteString(" # SKIP no step was reached")
	}
	b.WriteString("\n")
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
	return b.Flush()
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
