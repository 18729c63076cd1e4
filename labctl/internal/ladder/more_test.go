package ladder

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"restartlab/labctl/internal/journal"
)

var (
	serverAt = netip.MustParseAddrPort("192.168.44.144:12500")
	clientAt = netip.MustParseAddrPort("192.168.44.145:40000")
)

// crossing is a segment from the client as a host saw it.
func crossing(n int, t int64, host string, seq uint32, flags ...string) journal.Event {
	return journal.Event{N: n, T: t, Kind: journal.KindSegment, Host: host, Segment: &journal.Segment{Interface: "eth0",
		Out: host == "client", From: clientAt, To: serverAt, Flags: flags, Seq: seq}}
}

func hosts() []journal.Event {
	up := func(n int, host string) journal.Event {
		return journal.Event{N: n, Kind: journal.KindHost, Host: host, Change: &journal.Change{What: "up"}}
	}
	return []journal.Event{up(2, "server"), up(3, "client")}
}

func TestFlights(t *testing.T) {
	for _, test := range []struct {
		name   string
		events []journal.Event
		want   []string
	}{
		{"one that arrives", []journal.Event{crossing(4, 10, "client", 5, "SYN"), crossing(5, 20, "server", 5, "SYN")},
			[]string{"SYN seq 0: row 0 to 1"}},
		{"written in the other order", []journal.Event{crossing(4, 20, "server", 5, "SYN"), crossing(5, 10, "client", 5, "SYN")},
			[]string{"SYN seq 0: row 0 to 1"}},
		{"the first is lost", []journal.Event{crossing(4, 10, "client", 5, "SYN"), crossing(5, 30, "client", 5, "SYN"), crossing(6, 40, "server", 5, "SYN")},
			[]string{"SYN seq 0: row 0 to -1, lost", "SYN seq 0: row 1 to 2"}},
		{"the other host was not watched", []journal.Event{crossing(4, 10, "client", 5, "SYN")},
			[]string{"SYN seq 0: row 0 to -1"}},
		{"its leaving was not recorded", []journal.Event{crossing(4, 10, "server", 5, "SYN")},
			[]string{"SYN seq 0: row -1 to 0"}},
		{"numbers go on past the largest", []journal.Event{crossing(4, 10, "client", 1<<32-1, "SYN"), crossing(5, 20, "client", 0, "FIN", "ACK")},
			[]string{"SYN seq 0: row 0 to -1", "FIN,ACK seq 1 ack 0: row 1 to -1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := Build(append(hosts(), test.events...))
			var got []string
			var seen []*Segment
			for _, r := range l.Rows {
				if s := r.Segment; s != nil && !slices.Contains(seen, s) {
					seen = append(seen, s)
					text := fmt.Sprintf("%s: row %d to %d", s.Label, s.Out, s.In)
					if s.Lost {
						text += ", lost"
					}
					got = append(got, text)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

// TestSources draws what was recorded otherwise than what was worked out, and
// names what is missing.
func TestSources(t *testing.T) {
	all := pictures(t)
	sure := func(l *Ladder) (yes, no int) {
		for _, s := range l.Sockets {
			for _, p := range s.Spans {
				switch {
				case p.Sure:
					yes++
				case p.State != "" && p.State != "CLOSE":
					no++
				}
			}
		}
		return yes, no
	}
	if yes, no := sure(all["reuseaddr"]); yes == 0 || no != 0 {
		t.Errorf("of the kernel's states %d are sure and %d are not", yes, no)
	}
	for _, name := range []string{"reuseaddr-inferred", "reuseaddr-today"} {
		if yes, no := sure(all[name]); yes != 0 || no == 0 {
			t.Errorf("%s: %d states are sure and %d are not", name, yes, no)
		}
	}
	if notes := strings.Join(all["reuseaddr-today"].Notes, "\n"); !strings.Contains(notes, "No segments were recorded") || !strings.Contains(notes, "Changes of state were not recorded") {
		t.Errorf("the notes do not say what is missing: %q", notes)
	}
	if notes := all["reuseaddr"].Notes; len(notes) != 0 {
		t.Errorf("a whole record has notes: %q", notes)
	}
	events := append(enriched(t, "reuseaddr", journal.SourceKernel), journal.Event{N: 900, T: 1 << 40, Kind: journal.KindLoss, Loss: &journal.Loss{Observer: "trace", Count: 3}})
	if notes := strings.Join(Build(events).Notes, "\n"); !strings.Contains(notes, "3 events lost by trace") {
		t.Errorf("a loss is not told: %q", notes)
	}
}

// TestRefused leads from a refused bind to the bar that holds the port.
func TestRefused(t *testing.T) {
	for _, name := range []string{"timewait", "timewait-today", "surviving-child", "one-host"} {
		l := pictures(t)[name]
		found := false
		for i, r := range l.Rows {
			for _, h := range r.Holders {
				s := l.Sockets[h]
				found = true
				if s.First > i || s.Last < i || s.column < 0 {
					t.Errorf("%s: the holder's bar is not beside row %d: %+v", name, i, s)
				}
			}
		}
		if !found {
			t.Errorf("%s: no refused call leads to a holder", name)
		}
	}
}

// TestWidth holds the text ladder to its width, whatever stands in it.
func TestWidth(t *testing.T) {
	all := pictures(t)
	all["hostile"] = Build(hostile(t))
	for name, l := range all {
		for _, line := range l.Lines() {
			if n := cells(line); n > TextWidth {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
	}
}

// hostile is a run whose every text is markup, and longer than it should be.
func hostile(t testing.TB) []journal.Event {
	events := enriched(t, "one-host", journal.SourceKernel)
	bad := "</svg><script>alert(1)</script> & \" ' \x00\x1b[31m\u202e\ufffe\xff 甲;#\n" + strings.Repeat("長", 300)
	for i := range events {
		e := &events[i]
		e.Program = bad
		if p := e.Process; p != nil {
			q := *p
			q.Line, q.Argv, q.Signal = bad, []string{bad, bad}, bad
			e.Process = &q
		}
		if s := e.Syscall; s != nil {
			q := *s
			q.Name, q.Errno, q.Args.Text = bad, bad, bad
			e.Syscall = &q
		}
		if s := e.StepRun; s != nil {
			q := *s
			q.ID, q.Title = bad, journal.Text{EN: bad}
			e.StepRun = &q
		}
		if s := e.State; s != nil {
			q := *s
			q.Why, q.Source = bad, bad
			e.State = &q
		}
		if s := e.Segment; s != nil {
			q := *s
			q.Flags, q.Options, q.Interface = []string{bad}, []string{bad}, bad
			e.Segment = &q
		}
	}
	return events
}

func TestHostile(t *testing.T) {
	l := Build(hostile(t))
	var svg bytes.Buffer
	if err := l.SVG(&svg); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, svg.Bytes())
	whole := svg.String() + l.Figure()
	for _, d := range l.Diagrams() {
		whole += d.SVG
	}
	for _, bad := range []string{"<script", "\x1b", "\u202e", "\ufffe", "\x00"} {
		if strings.Contains(whole, bad) {
			t.Errorf("%q stands in the SVG", bad)
		}
	}
	var mermaid bytes.Buffer
	if err := l.Mermaid(&mermaid); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(mermaid.String()), "\n") {
		text := line[strings.Index(line, ":")+1:]
		if i > 0 && !strings.HasPrefix(line, "    ") || strings.ContainsAny(text, "<>\"") {
			t.Errorf("line %d of the Mermaid is broken: %q", i+1, line)
		}
	}
}

// many is a run of n events: connections one after another.
func many(t testing.TB, n int) []journal.Event {
	once := enriched(t, "reuseaddr", journal.SourceKernel)
	events := slices.Clone(once)
	for round := int64(1); len(events) < n; round++ {
		for _, e := range once[4 : len(once)-1] {
			e.N = len(events) + 1
			e.T += round * 100_000_000
			events = append(events, e)
		}
	}
	return events[:n]
}

func TestCut(t *testing.T) {
	l := Build(many(t, MostEvents+5))
	if notes := strings.Join(l.Notes, "\n"); !strings.Contains(notes, "10000 of 10005 events are drawn") {
		t.Errorf("that it is cut is not told: %q", notes)
	}
	var mermaid bytes.Buffer
	if err := l.Mermaid(&mermaid); err != nil || mermaid.Len() > 50_000 {
		t.Errorf("the Mermaid diagram has %d bytes (%v): renderers draw 50,000 characters", mermaid.Len(), err)
	}
	events := enriched(t, "timewait", journal.SourceKernel)
	for n := range events { // killed at any moment
		l := Build(events[:n])
		l.SVG(io.Discard)
		l.Text(io.Discard)
		l.Diagrams()
	}
}

// TestCrowd reads tables of thousands of TIME_WAITs: they must not bury the run.
func TestCrowd(t *testing.T) {
	events := hosts()
	crowd := func(n, sockets int) journal.Event {
		e := journal.Event{N: n, T: int64(n) * 1e6, Kind: journal.KindSockets, Host: "server", Sockets: &journal.Sockets{Reason: "step"}}
		for i := range sockets {
			e.Sockets.Rows = append(e.Sockets.Rows, journal.Socket{State: "TIME_WAIT", Cookie: uint64(i + 1), Local: serverAt,
				Remote: netip.AddrPortFrom(clientAt.Addr(), uint16(i+1))})
		}
		return e
	}
	l := Build(append(events, crowd(4, 30_000), crowd(5, 0)))
	if len(l.Rows) != 2*(mostNews+1) {
		t.Errorf("%d rows", len(l.Rows))
	}
	var svg bytes.Buffer
	if l.SVG(&svg); svg.Len() > 100_000 {
		t.Errorf("the SVG has %d bytes", svg.Len())
	}
	if !strings.Contains(strings.Join(l.Notes, "\n"), "no bar") {
		t.Errorf("that bars are missing is not told: %q", l.Notes)
	}
}

// BenchmarkRender draws 10,000 events in every form, for which a second is allowed.
func BenchmarkRender(b *testing.B) {
	events := many(b, MostEvents)
	best := time.Hour
	for b.Loop() {
		began := processor()
		l := Build(events)
		l.Figure()
		l.Narrow()
		l.Key()
		l.SVG(io.Discard)
		l.Text(io.Discard)
		l.Mermaid(io.Discard)
		l.Diagrams()
		best = min(best, processor()-began)
	}
	b.ReportMetric(best.Seconds(), "cpu-s")
	if best > time.Second {
		b.Errorf("%d events take %v", MostEvents, best)
	}
}

// processor is the time that this process has had of the processors, which other
// processes do not lengthen as they do the time on the wall.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func FuzzBuild(f *testing.F) {
	for _, name := range names {
		var b bytes.Buffer
		w := journal.NewWriter(&b, 1)
		for _, e := range enriched(f, name, journal.SourceKernel) {
			w.Write(e)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		events, _ := journal.ReadAll(bytes.NewReader(b))
		l := Build(events)
		var svg bytes.Buffer
		l.SVG(&svg)
		wellFormed(t, svg.Bytes())
		for _, line := range l.Lines() {
			if cells(line) > TextWidth {
				t.Errorf("%d columns: %s", cells(line), line)
			}
		}
		l.Mermaid(io.Discard)
		l.Diagrams()
	})
}
