package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/ladder"
	"restartlab/labctl/internal/study"
)

var update = flag.Bool("update", false, "write testdata and schema.json anew")

// journals are the runs of testdata: NAME.jsonl and what is made of it.
var journals = []string{"timewait", "failed", "killed", "error", "hostile"}

var formats = []struct {
	suffix string
	write  func(io.Writer, *Report) error
}{{".json", one(JSON)}, {".md", one(Markdown)}, {".html", whole}, {".xml", one(JUnit)}, {".tap", one(TAP)}, {".txt", one(Text)},
	{".mmd", one(Mermaid)}, {".svg", SVG}}

// whole is HTML of a report.
func whole(w io.Writer, r *Report) error { return HTML(w, r) }

// one is a format of several reports, for a single one.
func one[D any](write func(io.Writer, ...D) error) func(io.Writer, *Report) error {
	return func(w io.Writer, r *Report) error { return write(w, any(r).(D)) }
}

// TestSeveral writes two runs into one output of each format that can hold them.
func TestSeveral(t *testing.T) {
	a, b := build(t, "timewait"), build(t, "failed")
	text := func(write func(io.Writer, ...Document) error) string {
		var out bytes.Buffer
		if err := write(&out, a, b); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	var reports []Report
	if err := json.Unmarshal([]byte(text(JSON)), &reports); err != nil || len(reports) != 2 {
		t.Errorf("JSON holds %d reports: %v", len(reports), err)
	}
	var suites junitSuites
	if err := xml.Unmarshal([]byte(text(JUnit)), &suites); err != nil || len(suites.Suites) != 2 {
		t.Errorf("JUnit holds %d suites: %v", len(suites.Suites), err)
	}
	tap := text(TAP)
	for _, want := range []string{"TAP version 14\n1..2\n# Subtest: timewait\n    1..", "\nok 1 - timewait\n", "\nnot ok 2 - "} {
		if !strings.Contains(tap, want) {
			t.Errorf("TAP has no %q:\n%s", want, tap)
		}
	}
	if strings.Count(tap, "TAP version") != 1 || strings.Count(text(Markdown), "\n## Run it again\n") != 2 {
		t.Errorf("one version line and two Markdown reports are wanted")
	}
}

func read(t *testing.T, name string) []journal.Event {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	events, err := journal.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func build(t *testing.T, name string) *Report {
	t.Helper()
	r, err := Build(read(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestGolden(t *testing.T) {
	for _, name := range journals {
		r := build(t, name)
		for _, f := range formats {
			t.Run(name+f.suffix, func(t *testing.T) {
				var got bytes.Buffer
				if err := f.write(&got, r); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", name+f.suffix)
				if *update {
					if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("not as in %s; if it should be so, run go test -update (-want +got):\n%s", path, diff)
				}
			})
		}
	}
}

// TestSame makes every document twice from the journal: no order of a map may
// show.
func TestSame(t *testing.T) {
	for _, name := range journals {
		for _, f := range formats {
			var first, again bytes.Buffer
			f.write(&first, build(t, name))
			f.write(&again, build(t, name))
			if !bytes.Equal(first.Bytes(), again.Bytes()) {
				t.Errorf("%s%s differs from run to run", name, f.suffix)
			}
		}
	}
}

// TestCut renders a run killed after each of its events: no document may fail,
// and none may claim a verdict that was not reached.
func TestCut(t *testing.T) {
	events := read(t, "timewait")
	for n := 1; n <= len(events); n++ {
		r, err := Build(events[:n])
		if err != nil {
			t.Fatalf("after %d events: %v", n, err)
		}
		if complete := n == len(events); (r.Verdict == journal.Pass) != complete {
			t.Errorf("after %d of %d events the verdict is %s", n, len(events), r.Verdict)
		}
		if n > 1 && len(r.Steps) != 7 {
			t.Errorf("after %d events there are %d steps, want 7", n, len(r.Steps))
		}
		for _, f := range formats {
			if err := f.write(io.Discard, r); err != nil {
				t.Errorf("after %d events, %s: %v", n, f.suffix, err)
			}
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	events := read(t, "timewait")
	other := journal.Event{N: 900, Lab: "another", Note: &journal.Note{}}
	claim := journal.Event{N: 900, LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Steps: 1 << 60}}
	for _, test := range []struct {
		name   string
		events []journal.Event
		want   string
	}{
		{"nothing", nil, "not a journal"},
		{"no header", events[1:], "not a journal"},
		{"two labs", append(events[:2:2], other), "several labs"},
		{"too many steps", append(events[:2:2], claim), "more steps"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Build(test.events)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestHostile looks in the documents of a journal full of markup for any that
// came through.
func TestHostile(t *testing.T) {
	r := build(t, "hostile")
	text := func(write func(io.Writer, *Report) error) string {
		var b strings.Builder
		if err := write(&b, r); err != nil {
			t.Fatal(err)
		}
		for _, c := range b.String() {
			if unprintable(c) && c != '\n' {
				t.Errorf("%U stands in a document", c)
				break
			}
		}
		return b.String()
	}
	html := text(whole)
	if strings.Count(html, "<script>") != 1 || strings.Count(html, ladder.Script()) != 1 {
		t.Error("the HTML holds another script than the ladder's")
	}
	html = strings.Replace(html, "<script>"+ladder.Script()+"</script>", "", 1)
	for _, bad := range []string{"<script", "</script", "<!-- ", "href=\"http", "src=", "@import", "url("} {
		if strings.Contains(html, bad) {
			t.Errorf("%q stands in the HTML", bad)
		}
	}
	md := text(one(Markdown))
	fence := ""
	for l := range strings.Lines(md) {
		l = strings.TrimSuffix(l, "\n")
		marks := len(l) - len(strings.TrimLeft(l, "`"))
		switch {
		case fence == "" && marks >= 3:
			fence = l
		case fence != "" && l == fence:
			fence = ""
		case fence != "" && marks >= len(fence):
			t.Errorf("a line of output closes its fence: %q", l)
		case fence == "" && strings.Contains(l, "<"):
			t.Errorf("HTML stands in the Markdown: %q", l)
		case fence == "" && strings.HasPrefix(l, "| 1 |"):
			if cells := strings.Count(strings.ReplaceAll(l, `\|`, ""), "|"); cells != 7 {
				t.Errorf("the row of step 1 has %d bars, want 7: %q", cells, l)
			}
		}
	}
	if fence != "" {
		t.Error("a fence stays open")
	}
	var suites junitSuites
	if err := xml.Unmarshal([]byte(text(one(JUnit))), &suites); err != nil {
		t.Errorf("junit.xml is no XML: %v", err)
	}
	for l := range strings.Lines(text(one(TAP))) {
		if strings.HasPrefix(l, "not ok") && strings.Contains(strings.ReplaceAll(l, `\#`, ""), "#") {
			t.Errorf("a name became a directive: %q", l)
		}
	}
}

// TestBetween shows that what happens between two steps is told after the first.
func TestBetween(t *testing.T) {
	events := read(t, "timewait")
	for i := range events {
		if events[i].Syscall != nil && events[i].Syscall.Errno != "" {
			events[i].Step = 0
		}
	}
	r, err := Build(events)
	if err != nil {
		t.Fatal(err)
	}
	if b := r.refused(); len(b) != 1 || b[0].Step != 5 {
		t.Errorf("the refused bind is not told at step 5: %+v", b)
	}
	if r.Events[0].Step != 0 {
		t.Error("the lab's begin is told at a step")
	}
}

func TestParts(t *testing.T) {
	for _, p := range build(t, "hostile").Processes {
		var long string
		for _, l := range p.Output {
			if l.Stream == "stderr" && l.Text != "" {
				long = l.Text
			}
		}
		if want := strings.Repeat("x", 4096) + strings.Repeat("y", 3000); long != want {
			t.Errorf("a line that came in two parts is %d bytes long, want %d", len(long), len(want))
		}
	}
}

func TestWriteDir(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second replaces the first
		if err := WriteDir(dir, build(t, "timewait"), &study.Table{}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"junit.xml", "report.html", "report.json", "report.md", "results.csv"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if err := WriteDir(filepath.Join(dir, "missing"), build(t, "timewait"), &study.Table{}); err == nil || !strings.Contains(err.Error(), "results.csv") {
		t.Errorf("into a folder that is not there: %v", err)
	}
}
