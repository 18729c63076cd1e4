package view

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"restartlab/labctl/internal/journal"
)

// Question asks what a step will do before it is shown.
type Question struct {
	step    journal.Step
	field   string // of the expectation that it is about
	text    string
	choices []choice
}

// choice is an answer: its words, and how it is told that it is the right one.
type choice struct {
	text  string
	right func(*journal.Observed) bool
}

// NewQuestion makes the question about a step that begins; nil if it has no
// expectation that can be asked about. The choices do not tell the answer: they
// go by what is asked, and only an answer that is not among the usual ones is
// put with them.
func NewQuestion(st *journal.Step) *Question {
	var want map[string]json.RawMessage
	if st == nil || st.Phase != journal.PhaseBegin || json.Unmarshal(st.Expected, &want) != nil || len(want) == 0 {
		return nil
	}
	q := &Question{step: *st}
	for _, field := range []string{"bind", "listen", "connect", "result", "took", "states", "queued", "exit", "signal"} {
		if raw, ok := want[field]; ok {
			q.field = field
			q.ask(field, raw)
			return q
		}
	}
	q.text = "will it succeed?"
	q.choose("yes", func(o *journal.Observed) bool { return o.Failure == "" })
	q.choose("no", func(o *journal.Observed) bool { return o.Failure != "" })
	return q
}

func (q *Question) choose(text string, right func(*journal.Observed) bool) {
	q.choices = append(q.choices, choice{text, right})
}

// usual are the results of calls that one may think of.
var usual = map[string][]string{
	"bind":    {"ok", "EADDRINUSE", "EACCES"},
	"listen":  {"ok", "EADDRINUSE", "EINVAL"},
	"connect": {"ok", "ECONNREFUSED", "ETIMEDOUT", "ECONNRESET"},
	"result":  {"ok", "EADDRINUSE", "ECONNRESET", "EAGAIN"},
}

func (q *Question) ask(field string, raw json.RawMessage) {
	switch field {
	case "bind", "listen", "connect", "result":
		q.text = "what will " + field + "() answer?"
		if field == "result" {
			q.text = "what will the kernel answer?"
		}
		answers := usual[field]
		var want string
		if json.Unmarshal(raw, &want) == nil && !slices.Contains(answers, want) {
			answers = append(slices.Clone(answers), want)
		}
		for _, a := range answers {
			q.choose(a, func(o *journal.Observed) bool { return result(o, field) == a })
		}
	case "took":
		q.text = "how long will it take?"
		var took struct{ Since string }
		if json.Unmarshal(raw, &took) == nil && took.Since != "" {
			q.text = fmt.Sprintf("how long will it have taken since `%s`?", took.Since)
		}
		between := func(from, to time.Duration) func(*journal.Observed) bool {
			return func(o *journal.Observed) bool { return o.Took >= int64(from) && o.Took < int64(to) }
		}
		q.choose("under a second", between(0, time.Second))
		q.choose("up to 10 seconds", between(time.Second, 10*time.Second))
		q.choose("about a minute", between(10*time.Second, 100*time.Second))
		q.choose("longer", between(100*time.Second, time.Duration(1<<62)))
	case "states":
		q.text = "which sockets will be on the port?"
		states := []string{"LISTEN", "ESTABLISHED", "TIME_WAIT", "FIN_WAIT2"}
		var want map[string]json.RawMessage
		if json.Unmarshal(raw, &want) == nil {
			for _, s := range sortedStates(want) {
				if !slices.Contains(states, s) {
					states = append(states, s)
				}
			}
		}
		for _, s := range states {
			q.choose("one in "+s, func(o *journal.Observed) bool { return o.States[s] > 0 })
		}
		q.choose("none", func(o *journal.Observed) bool {
			for _, n := range o.States {
				if n > 0 {
					return false
				}
			}
			return true
		})
	case "queued":
		q.text = "how many connections will wait to be accepted?"
		number := func(ok func(int) bool) func(*journal.Observed) bool {
			return func(o *journal.Observed) bool { return o.Queued != nil && ok(*o.Queued) }
		}
		q.choose("none", number(func(n int) bool { return n == 0 }))
		q.choose("one", number(func(n int) bool { return n == 1 }))
		q.choose("more", number(func(n int) bool { return n > 1 }))
	case "exit", "signal":
		q.text = "how will it end?"
		q.choose("with exit code 0", func(o *journal.Observed) bool { return o.Exit != nil && *o.Exit == 0 })
		q.choose("with another exit code", func(o *journal.Observed) bool { return o.Exit != nil && *o.Exit != 0 })
		q.choose("by a signal", func(o *journal.Observed) bool { return o.Signal != "" })
		q.choose("not at all", func(o *journal.Observed) bool { return o.Exit == nil && o.Signal == "" })
	}
}

func sortedStates(m map[string]json.RawMessage) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func result(o *journal.Observed, field string) string {
	return map[string]string{"bind": o.Bind, "listen": o.Listen, "connect": o.Connect, "result": o.Result}[field]
}

// Choices are the answers to choose from.
func (q *Question) Choices() []string {
	var texts []string
	for _, c := range q.choices {
		texts = append(texts, c.text)
	}
	return texts
}

// Choice reads what was typed: a number, or the beginning of a choice's words.
func (q *Question) Choice(typed string) (choice string, ok bool) {
	typed = strings.TrimSpace(typed)
	if n, err := strconv.Atoi(typed); err == nil {
		if n < 1 || n > len(q.choices) {
			return "", false
		}
		return q.choices[n-1].text, true
	}
	for _, c := range q.choices {
		if typed != "" && strings.HasPrefix(strings.ToLower(c.text), strings.ToLower(typed)) {
			return c.text, true
		}
	}
	return "", false
}

// Judge holds an answer against what the step did. It reports false if the step
// did not come to its end: then there is nothing to judge.
func (q *Question) Judge(answer string, end *journal.Step) (p journal.Prediction, ok bool) {
	if end == nil || end.Observed == nil || end.Verdict != journal.Pass && end.Verdict != journal.Fail {
		return p, false
	}
	p = journal.Prediction{Index: q.step.Index, ID: q.step.ID, Question: q.text, Choices: q.Choices(), Answer: answer}
	var seen []string
	for _, c := range q.choices {
		if c.right(end.Observed) {
			seen = append(seen, c.text)
			p.Right = p.Right || c.text == answer
		}
	}
	p.Seen = strings.Join(seen, ", ")
	if p.Seen == "" {
		p.Seen = result(end.Observed, q.field)
	}
	if p.Seen == "" {
		p.Seen = "something else"
	}
	return p, true
}

// Ask prints the question and leaves the cursor behind it. Nothing is drawn until
// Answered.
func (v *View) Ask(q *Question) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.screen.live("")
	v.asking = true
	v.printHosts()
	name := v.page.text(q.step.Title)
	if name == "" {
		name = clean(q.step.ID)
	}
	v.print(v.page.wrap("? ", "  ", v.page.bold(name)+": "+clean(q.text))...)
	var choices []string
	for i, c := range q.choices {
		choices = append(choices, fmt.Sprintf("%d %s", i+1, clean(c.text)))
	}
	v.print(v.page.wrap("  ", "  ", strings.Join(choices, "   "))...)
	v.prompt(len(q.choices))
}

// Again asks once more, after an answer that is none.
func (v *View) Again(q *Question) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.prompt(len(q.choices))
}

func (v *View) prompt(choices int) {
	v.screen.write(fmt.Sprintf("  1 to %d, Enter passes: ", choices))
}

// Answered goes on after the reader's Enter.
func (v *View) Answered() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asking = false
	if !v.page.Animate { // nobody's Enter has ended the line
		v.screen.write("\n")
	}
}

// Predicted prints whether a prediction came true, and the score so far.
func (v *View) Predicted(p journal.Prediction, right, asked int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	text, paint := fmt.Sprintf("you said %s: right", p.Answer), v.page.good
	if !p.Right {
		text, paint = fmt.Sprintf("you said %s: wrong, it was %s", p.Answer, p.Seen), v.page.bad
	}
	v.print(each(v.page.wrap(indent, indent, clean(fmt.Sprintf("%s (%d of %d)", text, right, asked))), paint)...)
}
