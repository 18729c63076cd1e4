package view

import (
	"encoding/json"
	"testing"
	"time"

	"restartlab/labctl/internal/journal"
)

func TestQuestion(t *testing.T) {
	one := 1
	for _, test := range []struct {
		expected, typed string
		seen            journal.Observed
		answer, was     string
		right           bool
	}{
		{`{"bind":"EADDRINUSE","holders":{"TIME_WAIT":1}}`, "2", journal.Observed{Bind: "EADDRINUSE"}, "EADDRINUSE", "EADDRINUSE", true},
		{`{"bind":"EADDRINUSE"}`, "ok", journal.Observed{Bind: "EADDRINUSE"}, "ok", "EADDRINUSE", false},
		{`{"bind":"ok"}`, "1", journal.Observed{Bind: "EADDRNOTAVAIL"}, "ok", "EADDRNOTAVAIL", false},
		{`{"bind":"EADDRNOTAVAIL"}`, "4", journal.Observed{Bind: "EADDRNOTAVAIL"}, "EADDRNOTAVAIL", "EADDRNOTAVAIL", true},
		{`{"connect":"ECONNREFUSED"}`, "econnrefused", journal.Observed{Connect: "ECONNREFUSED"}, "ECONNREFUSED", "ECONNREFUSED", true},
		{`{"states":{"TIME_WAIT":1}}`, "3", journal.Observed{States: map[string]int{"TIME_WAIT": 1, "LISTEN": 1}}, "one in TIME_WAIT", "one in LISTEN, one in TIME_WAIT", true},
		{`{"states":{}}`, "none", journal.Observed{States: map[string]int{}}, "none", "none", true},
		{`{"states":{"CLOSING":1}}`, "5", journal.Observed{States: map[string]int{"CLOSING": 1}}, "one in CLOSING", "one in CLOSING", true},
		{`{"states":{},"took":{"since":"visit","min":"60s"}}`, "3", journal.Observed{Took: int64(61 * time.Second)}, "about a minute", "about a minute", true},
		{`{"took":"1s"}`, "1", journal.Observed{Took: int64(61 * time.Second)}, "under a second", "about a minute", false},
		{`{"queued":1}`, "2", journal.Observed{Queued: &one}, "one", "one", true},
		{`{"exit":1}`, "2", journal.Observed{Exit: &one}, "with another exit code", "with another exit code", true},
		{`{"lines":["hello"]}`, "y", journal.Observed{}, "yes", "yes", true},
		{`{"lines":["hello"]}`, "y", journal.Observed{Failure: "no"}, "yes", "no", false},
	} {
		q := NewQuestion(&journal.Step{Phase: journal.PhaseBegin, Index: 3, ID: "x", Expected: json.RawMessage(test.expected)})
		if q == nil {
			t.Errorf("%s: no question", test.expected)
			continue
		}
		answer, ok := q.Choice(test.typed)
		if !ok || answer != test.answer {
			t.Errorf("%s, typed %q: answer %q (%v), want %q of %q", test.expected, test.typed, answer, ok, test.answer, q.Choices())
		}
		p, ok := q.Judge(answer, &journal.Step{Phase: journal.PhaseEnd, Verdict: journal.Pass, Observed: &test.seen})
		if !ok || p.Right != test.right || p.Seen != test.was {
			t.Errorf("%s, %q: right %v, seen %q; want %v, %q", test.expected, answer, p.Right, p.Seen, test.right, test.was)
		}
		if _, ok := q.Judge(answer, &journal.Step{Phase: journal.PhaseEnd, Verdict: journal.Skipped}); ok {
			t.Errorf("%s: a step that was skipped is judged", test.expected)
		}
		for _, typed := range []string{"", "0", "99", "nonsense"} {
			if _, ok := q.Choice(typed); ok {
				t.Errorf("%s: %q is taken for an answer", test.expected, typed)
			}
		}
	}
	for _, expected := range []string{``, `{}`, `"any"`, `[]`} {
		if q := NewQuestion(&journal.Step{Phase: journal.PhaseBegin, Expected: json.RawMessage(expected)}); q != nil {
			t.Errorf("%q: a question %q", expected, q.text)
		}
	}
}
