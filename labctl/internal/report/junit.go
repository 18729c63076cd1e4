package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"restartlab/labctl/internal/journal"
)

// The elements of junit.xml that CI systems agree on.
type (
	junitSuites struct {
		XMLName xml.Name     `xml:"testsuites"`
		Suites  []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
		Err        string          `xml:"system-err,omitempty"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		Time    string        `xml:"time,attr"`
		Failure *junitMessage `xml:"failure"`
		Error   *junitMessage `xml:"error"`
		Skipped *junitMessage `xml:"skipped"`
		Output  string        `xml:"system-out,omitempty"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// JUnit writes junit.xml: each run is a suite, each step a case, or of a study
// each cell. What XML cannot hold is made visible.
func JUnit(w io.Writer, runs ...Document) error {
	var all junitSuites
	for _, r := range runs {
		all.Suites = append(all.Suites, r.suite())
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func (r *Report) suite() junitSuite {
	suite := junitSuite{Name: clean(r.Scenario.Name), Time: junitTime(r.Duration), Timestamp: clean(r.Environment.Started)}
	for _, row := range r.environment() {
		suite.Properties = append(suite.Properties, junitProperty{clean(row[0]), clean(row[1])})
	}
	if lost := r.losses(); lost != "" {
		suite.Err = lost + ": the report has gaps"
	}
	for i := range r.Steps {
		suite.Cases = append(suite.Cases, r.junitCase(&r.Steps[i]))
	}
	if r.Verdict != journal.Pass && r.decisive() == nil {
		// No step tells: the lab itself does.
		suite.Cases = append(suite.Cases, junitCase{Class: suite.Name, Name: "the lab", Time: junitTime(0),
			Error: &junitMessage{Message: clean(r.headline()), Type: clean(string(r.Verdict)), Text: cleanLines(r.Error)}})
	}
	suite.count()
	return suite
}

func (s *junitSuite) count() {
	for _, c := range s.Cases {
		s.Tests++
		switch {
		case c.Failure != nil:
			s.Failures++
		case c.Error != nil:
			s.Errors++
		case c.Skipped != nil:
			s.Skipped++
		}
	}
}

func (r *Report) junitCase(s *Step) junitCase {
	c := junitCase{Class: clean(r.Scenario.Name), Name: clean(fmt.Sprintf("%d %s", s.Index, s.name())), Time: junitTime(s.Duration)}
	message := &junitMessage{Message: clean(s.why()), Type: clean(s.Verb)}
	switch s.Status {
	case journal.Pass:
	case journal.Fail:
		message.Text = cleanLines(strings.Join(r.because(s), "\n"))
		c.Failure = message
	case journal.Skipped:
		message.Type = ""
		c.Skipped = message
	default:
		message.Text = cleanLines(strings.Join(r.because(s), "\n"))
		c.Error = message
	}
	var lines []string
	for _, p := range r.Processes {
		for _, l := range p.Output {
			if l.Step == s.Index {
				lines = append(lines, short(fmt.Sprintf("%s[%d] %s", p.Program, p.PID, l.Text)))
			}
		}
	}
	c.Output = strings.Join(fewer(lines), "\n")
	return c
}

// why says in a line why the step did not pass.
func (s *Step) why() string {
	switch s.Status {
	case journal.Skipped:
		return "the lab ended before this step"
	case journal.Incomplete:
		if !s.reached {
			return "the run ended before this step began"
		}
		return "the run ended before this step did"
	}
	var each []string
	for _, m := range s.Mismatches {
		each = append(each, fmt.Sprintf("%s: expected %s, saw %s", m.Field, m.Want, m.Got))
	}
	if len(each) == 0 && s.Observed != nil {
		return s.Observed.Failure
	}
	return strings.Join(each, "; ")
}

// because are the lines that tell more: where the step stands, what was
// expected and seen, and why binds were refused in it.
func (r *Report) because(s *Step) []string {
	var lines []string
	if s.Line != 0 {
		lines = append(lines, fmt.Sprintf("%s, line %d", r.Scenario.File, s.Line))
	}
	if e := s.expected(); e != "" {
		lines = append(lines, "expected: "+e)
	}
	if o := s.observed(); o != "" {
		lines = append(lines, "seen: "+o)
	}
	for _, b := range of(r.refused(), s.Index, func(b Bind) int { return b.Step }) {
		lines = append(lines, fmt.Sprintf("%s %s by %s on %s: %s", b.Call, b.at(), b.Program, b.Host, b.Explanation))
	}
	return lines
}

// cleanLines is clean for a text of several lines.
func cleanLines(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = clean(l)
	}
	return strings.Join(lines, "\n")
}

// junitTime is in seconds, as JUnit has it.
func junitTime(ns int64) string { return fmt.Sprintf("%.6f", float64(ns)/1e9) }
