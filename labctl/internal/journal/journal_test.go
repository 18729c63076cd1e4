package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	head = `{"n":1,"t":0,"kind":"header","header":{"version":1,"labctl":"x","scenario":{"name":"s"},"machine":{},"started":"","rootless":false}}` + "\n"
	note = `{"n":2,"t":7,"kind":"note","note":{"text":"hello"}}` + "\n"
)

func TestReadAll(t *testing.T) {
	for _, test := range []struct {
		name, text string
		events     int
		want       string // part of the error, empty for none
	}{
		{"whole", head + note, 2, ""},
		{"last line cut short", head + note + `{"n":3,"t":8,"ki`, 2, ""},
		{"header cut short", head[:40], 0, ErrNotJournal.Error()},
		{"empty", "", 0, ErrNotJournal.Error()},
		{"something else", "name: timewait\nsteps: []\n", 0, ErrNotJournal.Error()},
		{"JSON of something else", "{}\n", 0, ErrNotJournal.Error()},
		{"no header first", note, 0, ErrNotJournal.Error()},
		{"damaged in the middle", head + "garbage\n" + note, 1, "line 2 of the journal is damaged"},
		{"another format", strings.Replace(head, `"version":1`, `"version":9`, 1), 0, "format 9; this labctl reads format 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			events, err := ReadAll(strings.NewReader(test.text))
			if len(events) != test.events {
				t.Errorf("%d events, want %d", len(events), test.events)
			}
			switch {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// TestWriter writes from many goroutines at once: every line is whole, and the
// lines stand in the order of their numbers.
func TestWriter(t *testing.T) {
	var out bytes.Buffer
	out.WriteString(head)
	w := NewWriter(&out, 2)
	const writers, each = 8, 200
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				w.Write(Event{Kind: KindNote, Note: &Note{Text: "x"}})
			}
		})
	}
	all.Wait()
	if err := w.Err(); err != nil {
		t.Fatal(err)
	}
	events, err := ReadAll(&out)
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != 1+writers*each {
		t.Fatalf("%d events", len(events))
	}
	for i, e := range events {
		if e.N != i+1 {
			t.Fatalf("event %d stands at place %d", e.N, i+1)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriterError(t *testing.T) {
	w := NewWriter(brokenWriter{}, 2)
	if n := w.Write(Event{Kind: KindNote, Note: &Note{}}); n != 2 {
		t.Errorf("number %d", n)
	}
	if n := w.Write(Event{Kind: KindNote, Note: &Note{}}); n != 3 {
		t.Errorf("number %d", n)
	}
	if err := w.Err(); err == nil || err.Error() != "disk full" {
		t.Errorf("error %v", err)
	}
}

func TestText(t *testing.T) {
	for text, want := range map[Text]string{
		{EN: "a"}:          `"a"`,
		{EN: "a", ZH: "甲"}: `{"en":"a","zh":"甲"}`,
		{}:                 `""`,
	} {
		b, err := json.Marshal(text)
		if err != nil || string(b) != want {
			t.Errorf("%v is written as %s (%v), want %s", text, b, err, want)
		}
		var back Text
		if err := json.Unmarshal(b, &back); err != nil || back != text {
			t.Errorf("%s is read as %v (%v)", b, back, err)
		}
	}
}

// TestTallies keeps an empty tally apart from none: "nothing was there" and
// "nobody looked" are not the same.
func TestTallies(t *testing.T) {
	for _, o := range []Observed{{}, {States: map[string]int{}}, {States: map[string]int{"LISTEN": 1}, Holders: map[string]int{}}} {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		var back Observed
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(o, back); d != "" {
			t.Errorf("%s: %s", b, d)
		}
	}
}

func TestDuration(t *testing.T) {
	for ns, want := range map[int64]string{0: "0.0 µs", 45_100: "45.1 µs", 2_310_000: "2.310 ms", 61_440_000_000: "61.440 s"} {
		if got := Duration(ns); got != want {
			t.Errorf("%d ns is %q, want %q", ns, got, want)
		}
	}
}
