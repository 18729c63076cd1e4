package report

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"

	"restartlab/labctl/internal/journal"
)

// Markdown writes report.md: to be read on a forge and, as it stands, in a
// terminal. Several runs follow one another.
func Markdown(w io.Writer, runs ...Document) error {
	m := markdown{bufio.NewWriter(w)}
	for i, r := range runs {
		if i > 0 {
			m.line("")
		}
		r.markdown(m)
	}
	return m.w.Flush()
}

func (m markdown) report(r *Report) {
	m.head(r)
	m.steps(r)
	m.predictions(r)
	m.ladder(r)
	for _, b := range r.refused() {
		m.refusal(r, b)
	}
	m.tables(r)
	m.output(r)
	m.environment(r)
	m.line("## Run it again", "")
	m.fence("", []string{r.again()})
	m.line("or, from this report alone, `labctl rerun` and the path of its folder.")
}

type markdown struct{ w *bufio.Writer }

func (m markdown) line(lines ...string) {
	for _, l := range lines {
		m.w.WriteString(l + "\n")
	}
}

func (m markdown) head(r *Report) {
	m.line("# "+plain(r.title()), "")
	if r.Lab != "" {
		m.line("The lab `"+clean(r.Lab)+"` of "+plain(r.Scenario.Name)+".", "")
	}
	if zh := r.Scenario.Title.ZH; zh != "" {
		m.line("**"+plain(zh)+"**", "")
	}
	m.line(fmt.Sprintf("**%s** %s.", strings.ToUpper(plain(string(r.Verdict))), plain(r.headline())), "")
	if r.Error != "" {
		m.line("The lab could not do its work:", "")
		m.fence("", strings.Split(r.Error, "\n"))
	}
	if s := r.decisive(); s != nil {
		for _, miss := range s.Mismatches {
			m.line(fmt.Sprintf("- %s: expected %s, saw %s", plain(miss.Field), plain(miss.Want), plain(miss.Got)))
		}
		if len(s.Mismatches) > 0 {
			m.line("")
		}
	}
	if lesson := r.Scenario.Lesson; !lesson.IsZero() {
		m.line("## The answer", "")
		m.prose(lesson.EN)
		m.prose(lesson.ZH)
	}
	for i, n := range r.Notes {
		if i == 0 {
			m.line("## Notes", "")
		}
		m.line(fmt.Sprintf("- %s (#%d)", plain(n.Text), n.N))
		if i == len(r.Notes)-1 {
			m.line("")
		}
	}
}

// prose writes the author's paragraphs as they are, save what would not print:
// a lesson is Markdown as far as its author cares.
func (m markdown) prose(text string) {
	if text = strings.TrimSpace(text); text == "" {
		return
	}
	for p := range strings.SplitSeq(text, "\n\n") {
		if command, ok := preformatted(p); ok {
			m.fence("", strings.Split(command, "\n"))
			continue
		}
		for l := range strings.Lines(p) {
			m.line(strings.ReplaceAll(clean(strings.TrimRight(l, "\r\n")), "<", "&lt;"))
		}
		m.line("")
	}
}

func (m markdown) steps(r *Report) {
	m.line("## Steps", "", "|  # | step | result | expected | seen | took |", "|---:|------|--------|----------|------|-----:|")
	for i := range r.Steps {
		s := &r.Steps[i]
		seen := s.observed()
		for _, miss := range s.Mismatches {
			seen += fmt.Sprintf("; %s: expected %s, saw %s", miss.Field, miss.Want, miss.Got)
		}
		m.line(fmt.Sprintf("| %d | %s | %s | %s | %s | %s |", s.Index, plain(s.name()), plain(string(s.Status)), plain(s.expected()),
			plain(seen), s.took()))
	}
	m.line("")
}

// predictions are what the reader said that steps would do.
func (m markdown) predictions(r *Report) {
	if len(r.Predictions) == 0 {
		return
	}
	m.line("## Predictions", "", "**"+r.score()+".**", "", "| step | question | said | was | |", "|---|---|---|---|---|")
	for _, p := range r.Predictions {
		m.line(fmt.Sprintf("| %d %s | %s | %s | %s | %s |", p.Index, plain(p.ID), plain(p.Question), plain(p.Answer), plain(p.Seen), verdictOf(p)))
	}
	m.line("")
}

// ladder is the picture in text, its first rows if it is long.
func (m markdown) ladder(r *Report) {
	if r.ladder == nil || len(r.ladder.Rows) == 0 {
		return
	}
	m.line("## The ladder", "")
	lines := r.ladder.Lines()
	if n := len(lines); n > mostLines {
		lines = append(lines[:mostLines:mostLines], fmt.Sprintf("[%d more lines: labctl report --format text]", n-mostLines))
	}
	m.fence("", lines)
}

// long is a duration in words, labelled where the run's clock was warped.
func (r *Report) long(ns int64) string {
	if r.warped() {
		return journal.Virtual(ns)
	}
	return journal.Duration(ns)
}

func (r *Report) warped() bool { return r.Environment.Guest != nil && r.Environment.Guest.Warp }

func (s *Step) long(ns int64) string {
	if s.virtual {
		return journal.Virtual(ns)
	}
	return journal.Duration(ns)
}

// took is how long the step took, empty if it did not end.
func (s *Step) took() string {
	if s.Observed == nil || s.Duration == 0 {
		return ""
	}
	return s.long(s.Duration)
}

func (m markdown) refusal(r *Report, b Bind) {
	m.line(fmt.Sprintf("## Refused: %s %s by %s on %s", b.Call, b.at(), plain(b.Program), plain(b.Host)), "", plain(b.Explanation), "")
	m.line("What it rests on:", "")
	var lines []string
	for _, e := range r.evidence(b) {
		lines = append(lines, e.String())
	}
	m.fence("", lines)
	if t, ok := r.tableAfter(b.N); ok {
		m.line(plain("The sockets of "+t.caption())+":", "")
		m.fence("", strings.Split(strings.TrimSuffix(t.netstat(), "\n"), "\n"))
	}
}

// at is the address that the call was for: "0.0.0.0:12500".
func (b Bind) at() string {
	switch {
	case b.Address == "":
		return "of an unknown address"
	case strings.Contains(b.Address, ":"):
		return fmt.Sprintf("[%s]:%d", b.Address, b.Port)
	}
	return fmt.Sprintf("%s:%d", b.Address, b.Port)
}

func (m markdown) tables(r *Report) {
	shown := r.shown()
	if len(shown) == 0 {
		return
	}
	m.line("## Socket tables", "", "Each host's, whenever it was not as before.", "")
	for _, t := range shown {
		where := "Before the first step"
		if t.Step != 0 {
			where = fmt.Sprintf("Step %d", t.Step)
		}
		m.line(plain(where+": "+t.caption()), "")
		m.fence("", strings.Split(strings.TrimSuffix(t.netstat(), "\n"), "\n"))
	}
}

func (m markdown) output(r *Report) {
	if len(r.Processes) == 0 {
		return
	}
	m.line("## What the programs printed", "")
	for _, p := range r.Processes {
		m.line(plain(fmt.Sprintf("%s on %s, process %d, %s", p.Program, p.Host, p.PID, p.end())), "")
		m.fence("", p.screen())
	}
}

// screen is the process's command line and output, as a terminal would show it.
func (p Process) screen() []string {
	argv := make([]string, len(p.Argv))
	for i, a := range p.Argv {
		argv[i] = shell(a)
	}
	var lines []string
	for _, l := range p.Output {
		lines = append(lines, l.Text)
	}
	return append([]string{"$ " + strings.Join(argv, " ")}, fewer(lines)...)
}

// end says how the process ended, if it did.
func (p Process) end() string {
	if p.Ended == nil {
		return "still running at the end"
	}
	switch {
	case p.Signal != "":
		return fmt.Sprintf("ended by %s at %s", p.Signal, clock(*p.Ended))
	case p.Exit != nil:
		return fmt.Sprintf("exit code %d at %s", *p.Exit, clock(*p.Ended))
	}
	return "gone at " + clock(*p.Ended)
}

func (m markdown) environment(r *Report) {
	m.line("## Environment", "", "| | |", "|---|---|")
	for _, row := range r.environment() {
		m.line(fmt.Sprintf("| %s | %s |", plain(row[0]), plain(row[1])))
	}
	m.line("")
}

// environment are the rows of the environment's table: name and value.
func (r *Report) environment() [][2]string {
	e := r.Environment
	var rows [][2]string
	add := func(name, value string) {
		if value != "" {
			rows = append(rows, [2]string{name, value})
		}
	}
	add("author", r.Author)
	add("kernel", strings.TrimSpace(e.Kernel+" "+e.KernelBuild))
	add("machine", fmt.Sprintf("%s, %s", e.Arch, count(e.CPUs, "CPU")))
	if e.HZ != 0 {
		add("HZ", fmt.Sprint(e.HZ))
	}
	add("system", e.OS)
	add("labctl", e.Labctl)
	if g := e.Guest; g != nil {
		add("guest", fmt.Sprintf("%s, with %d MiB by QEMU %s (%s), on %s", g.Kernel, g.Memory, g.QEMU, g.Accel, strings.TrimSpace("Linux "+g.Host.Kernel+" "+g.Host.Arch)))
		if g.Warp {
			add("clock", fmt.Sprintf("virtual: it counts instructions and jumps over idle time, seed %d", g.Seed))
		}
		if g.Wall > 0 {
			add("took in real time", fmt.Sprintf("%s, a factor of %.1f", journal.Duration(g.Wall), g.Ratio))
		}
	} else if e.Rootless {
		add("privilege", "none: in a user namespace")
	} else {
		add("privilege", "root")
	}
	add("recorded", r.recorded())
	add("started", e.Started)
	add("scenario", r.Scenario.Name+", "+r.Scenario.File)
	add("digest", r.Scenario.Digest)
	for _, h := range e.Hosts {
		add("host "+h.Name, strings.TrimPrefix(h.Interface+" "+strings.Join(h.Addresses, ", "), " ")+r.origin(h.Name))
		sysctls := e.Sysctls[h.Name]
		for _, name := range slices.Sorted(maps.Keys(sysctls)) {
			add(h.Name+": "+name, strings.Join(strings.Fields(sysctls[name]), " "))
		}
	}
	return rows
}

// origin says of a host that was there before what it is.
func (r *Report) origin(host string) string {
	if pid, joined := r.Scenario.Joined[host]; joined {
		return fmt.Sprintf(" (the network namespace of process %d, joined)", pid)
	}
	return ""
}

// recorded says what the report knows of, and of what not all.
func (r *Report) recorded() string {
	text := "the socket calls of labctl's own programs, and socket tables"
	var where []string
	for _, h := range r.Environment.Hosts {
		if h.Segments {
			where = append(where, h.Interface+" of "+h.Name)
		}
	}
	if len(where) == 0 {
		text += "; no segments"
	} else {
		text += fmt.Sprintf("; %s at %s", count(r.Environment.Segments, "segment"), strings.Join(where, " and "))
	}
	if n := r.Environment.States; n > 0 {
		text += "; " + count(n, "state change")
		switch i := r.Environment.Inferred; {
		case i == n:
			text += ", inferred"
		case i > 0:
			text += fmt.Sprintf(", %d of them inferred", i)
		}
	} else {
		text += "; no state changes but those in the tables"
	}
	if n := r.Environment.Lost; n > 0 {
		text += fmt.Sprintf("; %s lost", count(n, "event"))
	}
	return text
}

// fence writes lines as they are, between marks longer than any run of
// backquotes within.
func (m markdown) fence(language string, lines []string) {
	longest := 2
	shown := make([]string, len(lines))
	for i, l := range lines {
		shown[i] = short(l)
		for run := range strings.FieldsFuncSeq(shown[i], func(c rune) bool { return c != '`' }) {
			longest = max(longest, len(run))
		}
	}
	mark := strings.Repeat("`", longest+1)
	m.line(mark + language)
	m.line(shown...)
	m.line(mark, "")
}

// plain escapes what Markdown, or HTML in it, would take for markup. Its text
// stands on one line.
func plain(s string) string {
	runes := []rune(clean(strings.Join(strings.Fields(s), " ")))
	letter := func(i int) bool {
		return i >= 0 && i < len(runes) && (unicode.IsLetter(runes[i]) || unicode.IsDigit(runes[i]))
	}
	link := strings.Contains(s, "](") || strings.Contains(s, "][")
	var b strings.Builder
	for i, c := range runes {
		switch c {
		case '\\', '`', '*', '|', '~':
			b.WriteByte('\\')
		case '[', ']': // an IPv6 address needs none
			if link {
				b.WriteByte('\\')
			}
		case '#':
			if i == 0 {
				b.WriteByte('\\')
			}
		case '_': // SO_REUSEADDR needs none
			if !letter(i-1) || !letter(i+1) {
				b.WriteByte('\\')
			}
		case '<':
			b.WriteString("&lt;")
			continue
		case '&':
			b.WriteString("&amp;")
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}
