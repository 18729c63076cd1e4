package view

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

var update = flag.Bool("update", false, "write what is seen now into testdata")

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-want +got; go test -update writes it):\n%s", file, d)
	}
}

var terminals = map[string]Options{
	"80":   {Width: 80},
	"120":  {Width: 120},
	"pipe": {ASCII: true},
}

var journals = map[string]func() []journal.Event{
	"timewait": timewait, "failing": failing, "broken": broken, "killed": killed, "odd": odd,
}

const reportPath = "reports/timewait-20260102-030405/report.html"

// replay shows a whole journal at once.
func replay(o Options, events []journal.Event) string {
	return replayTo(reportPath, o, events)
}

func replayTo(path string, o Options, events []journal.Event) string {
	var b bytes.Buffer
	v := New(&b, o)
	for _, e := range events {
		v.Add(e)
	}
	v.Done(path)
	return b.String()
}

func TestViewGolden(t *testing.T) {
	for name, events := range journals {
		for kind, o := range terminals {
			t.Run(name+"-"+kind, func(t *testing.T) {
				got := replay(o, events())
				plainText(t, got, o.Width)
				golden(t, name+"-"+kind, got)
			})
		}
	}
	t.Run("verbose", func(t *testing.T) {
		golden(t, "timewait-verbose", replay(Options{Width: 80, Verbose: true}, timewait()))
	})
	t.Run("chinese", func(t *testing.T) {
		got, _, _ := strings.Cut(replay(Options{Width: 80, Chinese: true}, timewait()), "\n")
		if got != question.ZH {
			t.Errorf("title %q, want %q", got, question.ZH)
		}
	})
}

// plainText fails on what a pipe or a narrow terminal must never get.
func plainText(t *testing.T, s string, columns int) {
	t.Helper()
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.IndexFunc(line, unicode.IsControl); i >= 0 {
			t.Errorf("a control character in %q", line)
		}
		if columns > 0 && width(line) > columns {
			t.Errorf("%d columns: %q", width(line), line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("blanks at the end of %q", line)
		}
	}
}

// Every width, and every point at which a run may be cut off, gives lines that
// fit and never a panic.
func TestViewAnyWidthAndCut(t *testing.T) {
	for name, events := range journals {
		all := events()
		for n := range all {
			o := Options{Width: 40 + n%90}
			plainText(t, replayTo("r.html", o, all[:n]), o.Width)
			plainText(t, replayTo("r.html", o, all[n:]), o.Width)
		}
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestColourOnlyColours(t *testing.T) {
	for name, events := range journals {
		plain := replay(Options{Width: 80}, events())
		coloured := replay(Options{Width: 80, Color: true}, events())
		if coloured == plain {
			t.Errorf("%s: no colour", name)
		}
		if d := cmp.Diff(plain, trimLines(escapes().ReplaceAllString(coloured, ""))); d != "" {
			t.Errorf("%s: colour moves text:\n%s", name, d)
		}
	}
}

func trimLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return b.String()
}

// terminal replays what the view writes as a terminal shows it: a list of
// settled lines and the one that the cursor is in.
type terminal struct {
	mu    sync.Mutex // the ticker writes, the test reads
	lines []string
}

func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}

func (t *terminal) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		t.lines = []string{""}
	}
	for s := string(b); s != ""; {
		last := &t.lines[len(t.lines)-1]
		switch {
		case strings.HasPrefix(s, eraseLine):
			*last, s = "", s[len(eraseLine):]
		case s[0] == '\n':
			t.lines, s = append(t.lines, ""), s[1:]
		default:
			*last, s = *last+s[:1], s[1:]
		}
	}
	return len(b), nil
}

func (t *terminal) cursor() string {
	text := t.text()
	return text[strings.LastIndex(text, "\n")+1:]
}

// The live line counts down by itself, and leaves nothing behind.
func TestLiveLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var term terminal
		v := New(&term, Options{Width: 80, Animate: true})
		at := func(pass time.Duration, want string) {
			t.Helper()
			time.Sleep(pass) // of the bubble's clock
			synctest.Wait()
			if got := term.cursor(); got != want {
				t.Errorf("live line\n got %q\nwant %q", got, want)
			}
		}
		events := timewait()
		n := 0
		until := func(stop func(e journal.Event) bool) {
			for ; ; n++ {
				v.Add(events[n])
				if stop(events[n]) {
					n++
					return
				}
			}
		}
		until(func(e journal.Event) bool { return e.StepRun != nil })
		at(0, "▸ start app           0.0 s, at most 10.0 s")
		at(1200*time.Millisecond, "▸ start app           1.2 s, at most 10.0 s")
		until(func(e journal.Event) bool { return e.Sockets != nil && e.Sockets.Reason == "wait" })
		at(0, "▸ wait server 2       ░░░░░░░░░░░░░░░░░░░░░░░ 60.0 s left by the kernel's timer")
		at(30*time.Second, "▸ wait server 2       ███████████░░░░░░░░░░░░ 30.0 s left by the kernel's timer")
		at(30*time.Second, "▸ wait server 2       █████████████ due now; the kernel's timer wheel is coarse")
		for _, e := range events[n:] {
			v.Add(e)
		}
		at(0, "")
		v.Done(reportPath)
		time.Sleep(time.Second)
		synctest.Wait() // fails if the goroutine is still there
		got := trimLines(term.text())
		want := replay(Options{Width: 80}, events)
		want = strings.ReplaceAll(want, waitingLine(want), "")
		if d := cmp.Diff(want, strings.TrimRight(got, "\n")+"\n"); d != "" {
			t.Errorf("what settled differs from a pipe's by more than the waiting line:\n%s", d)
		}
	})
}

func waitingLine(s string) string {
	var out string
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "▸") || out != "" && strings.HasPrefix(line, strings.Repeat(" ", 18)) && !strings.Contains(out, "timer)\n") {
			out += line
		}
	}
	return out
}

// A step that prints and goes on shows what it printed without its end.
func TestOutputAsItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var term terminal
		v := New(&term, Options{Width: 80, Animate: true})
		sc := begin("timewait", question, 1)
		sc.open(1, "run app", "run", "app", "")
		sc.prints(ms, "app", "working")
		for _, e := range sc.events {
			v.Add(e)
		}
		if s := term.text(); strings.Contains(s, "working") {
			t.Errorf("not held back:\n%s", s)
		}
		time.Sleep(streamAfter + 2*frame)
		synctest.Wait()
		if s := term.text(); !strings.Contains(s, "▸ run app\n    app │ working\n▸ run app   ") {
			t.Errorf("not shown after %s:\n%s", streamAfter, s)
		}
		v.Close()
		v.Close()
		if got := term.text(); !strings.HasSuffix(got, "\n– run app             did not end\n") {
			t.Errorf("after Close:\n%s", got)
		}
	})
}

func TestCloseReportsWriteError(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.Close()
	v := New(w, Options{})
	v.Add(timewait()[0])
	if v.Close() == nil {
		t.Error("no error from a closed pipe")
	}
}

// A verdict names what the observers lost, whatever it is.
func TestLossInVerdict(t *testing.T) {
	for name, events := range map[string][]journal.Event{"PASS": timewait(), "FAIL": failing(), "ERROR": broken(), "INCOMPLETE": killed()} {
		at := len(events) / 2
		loss := func(n int) journal.Event {
			return journal.Event{Kind: journal.KindLoss, Lab: events[at].Lab, T: events[at].T, Loss: &journal.Loss{Observer: "trace", Count: n}}
		}
		events = slices.Insert(events, at, loss(40), loss(-3), loss(2))
		got := replay(Options{Width: 0}, events)
		i := strings.Index(got, "\n"+name+" ")
		if i < 0 {
			t.Fatalf("no %s in\n%s", name, got)
		}
		line, _, _ := strings.Cut(got[i+1:], "\n")
		if !strings.HasSuffix(line, "; 42 events lost by the observers") {
			t.Errorf("the verdict: %s", line)
		}
		all := manyText(Options{Width: 0}, events)
		lost := strings.Count(all, "; 42 events lost by the observers")
		if name != "INCOMPLETE" && (lost != 1 || !strings.Contains(all, "; the observers lost events of: "+events[at].Lab)) {
			t.Errorf("of many: %s", all)
		}
	}
}
