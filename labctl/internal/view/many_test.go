package view

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"restartlab/labctl/internal/journal"
)

// sideBySide gives the runs' events by turns, as they would come.
func sideBySide(m *Many, runs ...[]journal.Event) {
	for i := 0; ; i++ {
		more := false
		for n, events := range runs {
			if i < len(events) {
				m.AddFrom(string(rune('a'+n)), events[i])
				more = true
			}
		}
		if !more {
			return
		}
	}
}

func manyText(o Options, runs ...[]journal.Event) string {
	var b bytes.Buffer
	clock := time.Unix(0, 0)
	o.Now = func() time.Time { clock = clock.Add(10 * time.Millisecond); return clock }
	m := NewMany(&b, o)
	sideBySide(m, runs...)
	m.Done("reports/all/index.html")
	return b.String()
}

func TestManyGolden(t *testing.T) {
	for kind, o := range terminals {
		t.Run(kind, func(t *testing.T) {
			got := manyText(o, timewait(), failing(), broken(), killed(), odd())
			plainText(t, got, o.Width)
			golden(t, "many-"+kind, got)
		})
	}
	t.Run("all-pass", func(t *testing.T) {
		golden(t, "many-all-pass", manyText(Options{Width: 80}, timewait(), odd()))
	})
}

func TestManyFail(t *testing.T) {
	var b bytes.Buffer
	m := NewMany(&b, Options{Width: 80, Now: func() time.Time { return time.Time{} }})
	m.Fail("scenarios/ipv6.yaml", "start the lab: \x1b[31mno\x1b[0m /proc here\nOne of these helps:\n  - run as root, in a container that has CAP_SYS_ADMIN, or on a machine of your own\n  - ask")
	sideBySide(m, broken()[:5])
	m.Fail("a", "the inside was killed")
	m.Done("")
	golden(t, "many-fail", b.String())
}

// A run without any event is no reason to claim that all is well.
func TestManyNothing(t *testing.T) {
	got := manyText(Options{})
	if strings.Contains(got, "PASS") || !strings.Contains(got, "0 of 0 scenarios passed") {
		t.Errorf("%q", got)
	}
}

func TestManyLiveLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var term terminal
		m := NewMany(&term, Options{Width: 60, Animate: true})
		short, long := killed(), timewait()
		sideBySide(m, short[:len(short)-1], long[:10])
		for _, want := range []string{
			"▸ 2 running, 0 ended · timewait 60.0 s · timewait",
			"▸ 2 running, 0 ended · timewait 30.0 s · timewait",
			"▸ 2 running, 0 ended · timewait 0.0 s · timewait",
		} {
			synctest.Wait()
			if got := term.cursor(); got != want {
				t.Errorf("live line\n got %q\nwant %q", got, want)
			}
			time.Sleep(30 * time.Second)
		}
		m.Close()
		m.Close()
		if got := term.cursor(); got != "" {
			t.Errorf("left behind: %q", got)
		}
	})
}

// TestManyStudy shows a study among single runs: its labs are lines of their own
// only where they did not pass, and it counts as one.
func TestManyStudy(t *testing.T) {
	var b bytes.Buffer
	clock := time.Unix(0, 0)
	m := NewMany(&b, Options{Width: 80, Now: func() time.Time { clock = clock.Add(10 * time.Millisecond); return clock }})
	header := &journal.Header{Scenario: journal.Scenario{Name: "by-state", Axes: []journal.Axis{{Name: "state", Values: []string{"A", "B", "C"}}}}}
	m.AddFrom("s", journal.Event{Kind: journal.KindHeader, Header: header})
	for lab, end := range map[string]journal.Lab{"A": {Verdict: journal.Pass}, "B": {Verdict: journal.Skipped, Skipped: "no second user"}} {
		m.AddFrom("s", journal.Event{Lab: lab, Kind: journal.KindLab, LabInfo: &journal.Lab{Phase: journal.PhaseBegin, Cell: []string{lab}}})
		end.Phase = journal.PhaseEnd
		m.AddFrom("s", journal.Event{Lab: lab, Kind: journal.KindLab, LabInfo: &end})
	}
	m.EndStudy("s", journal.Pass, "1 of 2 cells passed, 1 skipped")
	sideBySide(m, timewait())
	alone := journal.Lab{Phase: journal.PhaseEnd, Verdict: journal.Skipped, Skipped: "root may bind every port"}
	m.AddFrom("z", journal.Event{Kind: journal.KindHeader, Header: &journal.Header{Scenario: journal.Scenario{Name: "low-port"}}})
	m.AddFrom("z", journal.Event{Lab: "low-port", Kind: journal.KindLab, LabInfo: &journal.Lab{Phase: journal.PhaseBegin}})
	m.AddFrom("z", journal.Event{Lab: "low-port", Kind: journal.KindLab, LabInfo: &alone})
	m.Done("")
	golden(t, "many-study", b.String())
}
