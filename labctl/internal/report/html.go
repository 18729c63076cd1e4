package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"regexp"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/ladder"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

// HTML writes report.html: one file that loads nothing, for a screen on a wall,
// a phone or paper. All that it may run is the ladder's script, which its policy
// names by its digest; without it the page shows the same.
func HTML(w io.Writer, run Document) error { return run.html(w) }

func (r *Report) html(w io.Writer) error {
	t, err := template.New("page").Parse(pageText)
	if err != nil {
		return err
	}
	return t.Execute(w, newPage(r))
}

// page is what page.html shows. Every text that a program or a user wrote has
// gone through clean or short; html/template escapes it for where it stands.
type page struct {
	Style               template.CSS
	Script              template.JS
	Policy              string        // the digest of Script, as a source of script-src
	Ladder, Slim, Key   template.HTML // for wide screens, for narrow ones, and what is below both
	Ways                []way
	Title, TitleZH      string
	Verdict, Mark, Head string
	Error               []string
	Mismatches          []journal.Mismatch
	Facts               []string
	Lesson, LessonZH    [][]span
	Strip               []band
	Marks               []mark
	Length, Longest     string
	Refused             []jump
	Steps               []card
	Before              card   // what happened before the first step
	Programs            string // summary of Processes
	Processes           []terminal
	Notes               []string
	Score               string // of Predictions
	PredictionHead      []string
	Predictions         [][]string
	Environment         [][2]string
	Again               string
	Name                string
	Lab                 string // the cell, where the run has many labs
}

type (
	// span is a piece of a paragraph.
	span struct {
		Code, Em, Pre bool
		Text          string
	}
	// band is a step on the time strip, mark a refused call; both in
	// thousandths of the run.
	band struct {
		Index       int
		X, Width    string
		Class, Name string
	}
	mark struct{ X, Name string }
	jump struct {
		Step int
		Text string
	}
	// way is a socket's way through the state diagram.
	way struct {
		Caption, Path string
		SVG           template.HTML
	}
	// card is a step.
	card struct {
		Index                    int
		Name, NameZH, ID, Object string
		Status, Mark             string
		Took, At                 string
		Drawn                    bool // it has a row in the ladder
		Expected, Seen           string
		Mismatches               []journal.Mismatch
		Refusals                 []refusal
		Screens                  []terminal
		Tables                   []table
		Summary                  string // of Events
		Events                   []string
	}
	terminal struct {
		Caption string
		Command string
		Lines   []string
	}
	table struct {
		Caption string
		Error   string
		Head    []string
		Rows    []tableRow
	}
	tableRow struct {
		Cells []string
		State string
	}
	refusal struct {
		N                   int
		What, Errno, Intent string
		Clauses             []clause
		Fix                 string
		Table               *table
		Summary             string // of Evidence
		Evidence            []proof
	}
	clause struct {
		Text string
		Refs []int
	}
	proof struct {
		N    int
		Text string
	}
)

// sign is a verdict for those who cannot tell its colour.
func sign(v journal.Verdict) string {
	switch v {
	case journal.Pass:
		return "✓"
	case journal.Fail:
		return "✗"
	case journal.Skipped:
		return "–"
	case journal.Incomplete:
		return "…"
	}
	return "!"
}

func newPage(r *Report) page {
	p := page{Style: template.CSS(pageStyle + ladder.Style()), Title: clean(r.title()), TitleZH: clean(r.Scenario.Title.ZH),
		Verdict: clean(string(r.Verdict)), Mark: sign(r.Verdict), Head: clean(r.headline()), Name: clean(r.Scenario.Name), Lab: clean(r.Lab),
		Lesson: paragraphs(r.Scenario.Lesson.EN), LessonZH: paragraphs(r.Scenario.Lesson.ZH), Again: clean(r.again())}
	if r.Error != "" {
		p.Error = strings.Split(cleanLines(r.Error), "\n")
	}
	if s := r.decisive(); s != nil {
		p.Mismatches = cleanMismatches(s.Mismatches)
	}
	p.Facts = r.facts()
	p.Length = r.long(r.Duration)
	p.draw(r.ladder)
	p.strip(r)
	shown := r.shown()
	p.Before = r.card(&Step{Index: 0}, shown)
	for i := range r.Steps {
		p.Steps = append(p.Steps, r.card(&r.Steps[i], shown))
	}
	for _, b := range r.refused() {
		p.Refused = append(p.Refused, jump{b.Step, clean(fmt.Sprintf("%s %s by %s", b.Call, b.at(), b.Program))})
	}
	for _, o := range r.Processes {
		p.Processes = append(p.Processes, terminal{Caption: clean(fmt.Sprintf("%s on %s, process %d, %s", o.Program, o.Host, o.PID, o.end())),
			Command: short(o.screen()[0]), Lines: shorts(o.screen()[1:])})
	}
	p.Programs = fmt.Sprintf("All that the programs printed, by process (%d)", len(r.Processes))
	p.Score, p.PredictionHead = r.score(), []string{"step", "question", "said", "was", ""}
	for _, said := range r.Predictions {
		row := []string{fmt.Sprintf("%d %s", said.Index, said.ID), said.Question, said.Answer, said.Seen, verdictOf(said)}
		for i := range row {
			row[i] = short(row[i])
		}
		p.Predictions = append(p.Predictions, row)
	}
	for _, n := range r.Notes {
		p.Notes = append(p.Notes, short(n.Text))
	}
	for _, row := range r.environment() {
		p.Environment = append(p.Environment, [2]string{clean(row[0]), clean(row[1])})
	}
	return p
}

// draw adds the ladder. Its package has escaped all that stands in it.
func (p *page) draw(l *ladder.Ladder) {
	if l == nil || len(l.Rows) == 0 {
		return
	}
	p.Ladder, p.Slim, p.Key = template.HTML(l.Figure()), template.HTML(l.Narrow()), template.HTML(l.Key())
	p.Script = template.JS(ladder.Script())
	digest := sha256.Sum256([]byte(ladder.Script()))
	p.Policy = "sha256-" + base64.StdEncoding.EncodeToString(digest[:])
	for _, d := range l.Diagrams() {
		p.Ways = append(p.Ways, way{d.Caption, d.Path, template.HTML(d.SVG)})
	}
}

// facts are what a reader asks first of a measurement: where and when.
func (r *Report) facts() []string {
	e := r.Environment
	var facts []string
	add := func(text string) {
		if text = strings.TrimSpace(text); text != "" {
			facts = append(facts, clean(text))
		}
	}
	if r.Author != "" {
		add("by " + r.Author)
	}
	for _, h := range e.Hosts {
		var addresses []string
		for _, a := range h.Addresses {
			a, _, _ = strings.Cut(a, "/")
			addresses = append(addresses, a)
		}
		add(h.Name + " " + strings.Join(addresses, ", "))
	}
	add("Linux " + e.Kernel + " " + e.Arch)
	if r.warped() {
		add("virtual time")
	}
	day, _, _ := strings.Cut(e.Started, "T")
	add(day)
	return facts
}

// strip draws the run along time: a band for each step, a mark for each refused
// call.
func (p *page) strip(r *Report) {
	length := float64(max(r.Duration, 1))
	began, longest := r.begins(), int64(0)
	at := func(t int64) float64 { return min(max(float64(t-began)/length*1000, 0), 1000) }
	for i, s := range r.Steps {
		if s.Observed == nil && s.Status != journal.Incomplete || !s.reached {
			continue
		}
		end := s.T + s.Duration
		if s.Observed == nil { // under way when the run ended
			end = began + r.Duration
		}
		x := min(at(s.T), 998)
		if end-s.T > longest {
			longest = end - s.T
			p.Longest = clean(fmt.Sprintf("longest: step %d, %s, %s", s.Index, s.name(), r.long(longest)))
		}
		p.Strip = append(p.Strip, band{Index: s.Index, X: fmt.Sprintf("%.2f", x), Width: fmt.Sprintf("%.2f", max(at(end)-x, 2)),
			Class: fmt.Sprintf("band-%d", i%2), Name: clean(fmt.Sprintf("%d %s, %s", s.Index, s.name(), s.took()))})
	}
	for _, b := range r.refused() {
		p.Marks = append(p.Marks, mark{X: fmt.Sprintf("%.2f", max(at(b.T)-2, 0)), Name: clean(fmt.Sprintf("%s refused, %s", b.Call, clock(b.T)))})
	}
}

// begins is when the lab began: its first event.
func (r *Report) begins() int64 {
	if len(r.Events) == 0 {
		return 0
	}
	return r.Events[0].T
}

func (r *Report) card(s *Step, shown []Table) card {
	c := card{Index: s.Index, Name: clean(s.name()), NameZH: clean(s.Title.ZH), Status: clean(string(s.Status)), Mark: sign(s.Status),
		Took: s.took(), Expected: clean(s.expected()), Seen: short(s.observed()), Mismatches: cleanMismatches(s.Mismatches)}
	if s.Title.EN != "" {
		c.ID = clean(s.ID)
	}
	if s.reached && s.Status != journal.Skipped {
		c.At = clock(s.T)
		c.Drawn = r.ladder.Shows(s.Index)
	}
	for _, b := range of(r.refused(), s.Index, func(b Bind) int { return b.Step }) {
		c.Refusals = append(c.Refusals, r.refusal(b, s.Status))
	}
	for _, p := range r.Processes {
		var lines []string
		for _, l := range of(p.Output, s.Index, func(l Line) int { return l.Step }) {
			lines = append(lines, l.Text)
		}
		if len(lines) > 0 {
			c.Screens = append(c.Screens, terminal{Caption: clean(fmt.Sprintf("%s on %s, process %d", p.Program, p.Host, p.PID)), Lines: shorts(lines)})
		}
	}
	for _, t := range of(shown, s.Index, func(t Table) int { return t.Step }) {
		c.Tables = append(c.Tables, newTable(t))
	}
	var events []string
	for _, e := range of(r.Events, s.Index, func(e Event) int { return e.Step }) {
		if e.Kind != journal.KindStep {
			events = append(events, e.String())
		}
	}
	c.Summary, c.Events = count(len(events), "event")+": every socket call, segment, signal and change", shorts(events)
	return c
}

func (r *Report) refusal(b Bind, status journal.Verdict) refusal {
	x := refusal{N: b.N, What: clean(fmt.Sprintf("%s %s by %s on %s", b.Call, b.at(), b.Program, b.Host)),
		Errno: clean(fmt.Sprintf("%s (%d)", b.Result, b.Errno)), Fix: clean(b.Fix)}
	if status == journal.Pass {
		x.Intent = ", as expected"
	}
	for _, c := range b.Clauses {
		x.Clauses = append(x.Clauses, clause{clean(c.Text), c.Events})
	}
	if t, ok := r.tableAfter(b.N); ok {
		after := newTable(t)
		x.Table = &after
	}
	for _, e := range r.evidence(b) {
		x.Evidence = append(x.Evidence, proof{e.N, short(e.String())})
	}
	x.Summary = "Evidence: " + count(len(x.Evidence), "recorded event")
	return x
}

func newTable(t Table) table {
	out := table{Caption: clean("Sockets of " + t.caption()), Error: clean(t.Error), Head: netstatHead()}
	for _, row := range t.Rows {
		out.Rows = append(out.Rows, tableRow{netstatRow(row), stateClass(row.State)})
	}
	return out
}

// stateClass groups states by what they mean for the port.
func stateClass(state string) string {
	switch state {
	case "LISTEN", "BOUND":
		return "listen"
	case "ESTABLISHED", "SYN_SENT", "SYN_RECV":
		return "open"
	}
	return "closing"
}

// markup is what of Markdown a lesson uses: `code` and *emphasis*.
var markup = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile("`[^`]+`|\\*[^*\\s][^*]*\\*") })

// paragraphs cuts a lesson at its blank lines, and each paragraph at its
// markup.
func paragraphs(text string) [][]span {
	var all [][]span
	for p := range strings.SplitSeq(strings.Trim(text, "\n"), "\n\n") {
		if command, ok := preformatted(p); ok {
			all = append(all, []span{{Pre: true, Text: command}})
			continue
		}
		p = unwrap(p)
		var spans []span
		end := 0
		for _, m := range markup().FindAllStringIndex(p, -1) {
			spans = append(spans, span{Text: clean(p[end:m[0]])},
				span{Code: p[m[0]] == '`', Em: p[m[0]] == '*', Text: clean(p[m[0]+1 : m[1]-1])})
			end = m[1]
		}
		if p != "" {
			all = append(all, append(spans, span{Text: clean(p[end:])}))
		}
	}
	return all
}

// preformatted is a paragraph that stands indented, without its indentation: what
// is to be typed as it is.
func preformatted(p string) (string, bool) {
	const indent = "  "
	var lines []string
	for l := range strings.Lines(p) {
		if !strings.HasPrefix(l, indent) {
			return "", false
		}
		lines = append(lines, clean(strings.TrimSpace(l)))
	}
	return strings.Join(lines, "\n"), len(lines) > 0
}

// unwrap joins the lines of a paragraph: with a space, but not between two
// Chinese characters.
func unwrap(p string) string {
	var b strings.Builder
	before := 'x'
	for word := range strings.FieldsSeq(p) {
		first, _ := utf8.DecodeRuneInString(word)
		if b.Len() > 0 && !(wide(before) && wide(first)) {
			b.WriteByte(' ')
		}
		b.WriteString(word)
		before, _ = utf8.DecodeLastRuneInString(word)
	}
	return b.String()
}

// wide reports whether c is Chinese, its punctuation included.
func wide(c rune) bool {
	return unicode.Is(unicode.Han, c) || c >= 0x3000 && c <= 0x303f || c >= 0xff00 && c <= 0xffef || c == '“' || c == '”'
}

func cleanMismatches(all []journal.Mismatch) []journal.Mismatch {
	out := make([]journal.Mismatch, len(all))
	for i, m := range all {
		out[i] = journal.Mismatch{Field: clean(m.Field), Want: clean(m.Want), Got: short(m.Got)}
	}
	return out
}

func shorts(lines []string) []string {
	lines = fewer(lines)
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = short(l)
	}
	return out
}
