package view

import (
	"bytes"
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"restartlab/labctl/internal/journal"
)

// watching is a server's table as the article's experiment goes on: it listens,
// is connected, has closed first; the server is gone; the port is free.
func watching() []Reading {
	row := func(state, remote string, cookie uint64, left int64) journal.Socket {
		s := journal.Socket{Family: "tcp", State: state, Local: netip.MustParseAddrPort("192.168.44.144:12500"), Cookie: cookie}
		if remote == "" {
			s.Local = netip.MustParseAddrPort("0.0.0.0:12500")
			s.SendQ = 5
		} else {
			s.Remote = netip.MustParseAddrPort(remote)
		}
		if left > 0 {
			s.Timer, s.TimeLeft = "timewait", &left
		}
		return s
	}
	const visitor = "192.168.44.145:51202"
	resolver := journal.Socket{Family: "tcp", State: "LISTEN", Local: netip.MustParseAddrPort("127.0.0.11:41234"), Cookie: 99}
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tables := [][]journal.Socket{
		{row("LISTEN", "", 1, 0), resolver},
		{row("LISTEN", "", 1, 0), resolver},
		{row("LISTEN", "", 1, 0), row("ESTABLISHED", visitor, 2, 0), resolver},
		{row("LISTEN", "", 1, 0), row("TIME_WAIT", visitor, 2, 59900), resolver},
		{row("TIME_WAIT", visitor, 2, 59400), resolver},
		{row("TIME_WAIT", visitor, 2, 58900), resolver},
		{resolver},
		{},
	}
	var readings []Reading
	for i, rows := range tables {
		readings = append(readings, Reading{At: begin.Add(time.Duration(i) * 500 * time.Millisecond), Rows: rows})
	}
	readings[5].Err = errors.New("read the IPv4 TCP socket table: it changed\x1b[2J")
	readings[5].Unlisted = []string{"BOUND"}
	return readings
}

func TestWatchGolden(t *testing.T) {
	what := Watched{Title: "TCP sockets of this network namespace", Every: 500 * time.Millisecond}
	for kind, o := range terminals {
		t.Run(kind, func(t *testing.T) {
			var b bytes.Buffer
			w := NewWatch(&b, o, what)
			for _, r := range watching() {
				w.Add(r)
			}
			plainText(t, b.String(), o.Width)
			golden(t, "watch-"+kind, b.String())
		})
	}
	t.Run("once", func(t *testing.T) {
		var b bytes.Buffer
		if err := Table(&b, Options{}, what, watching()[3]); err != nil {
			t.Fatal(err)
		}
		golden(t, "watch-once", b.String())
	})
}

// A terminal shows the newest reading and nothing of those before, whatever
// became of its size, and no more lines than it has.
func TestWatchOnATerminal(t *testing.T) {
	size := struct{ columns, lines int }{80, 24}
	o := Options{Width: 80, Animate: true, columns: func() int { return size.columns }, lines: func() int { return size.lines }}
	var b bytes.Buffer
	w := NewWatch(&b, o, Watched{Title: "TCP sockets of host server", Port: 12500, Every: time.Second})
	var frames []string
	for i, r := range watching() {
		switch i {
		case 5:
			size.columns = 40
		case 6:
			size.lines = 8
		case 7:
			size.lines = 3
		}
		b.Reset()
		w.Add(r)
		_, frame, _ := strings.Cut(b.String(), "\x1b[J")
		frames = append(frames, frame)
		for _, l := range strings.Split(frame, "\n") {
			if width(l) > size.columns {
				t.Errorf("reading %d: a line of %d columns: %q", i, width(l), l)
			}
		}
		if n := strings.Count(frame, "\n"); n >= size.lines {
			t.Errorf("reading %d: %d lines on a terminal of %d", i, n, size.lines)
		}
	}
	golden(t, "watch-frames", strings.Join(frames, "---\n"))
}

// A narrower terminal has folded the lines that are on it: the cursor goes back
// over all that became of them.
func TestWatchGoesBackOverFoldedLines(t *testing.T) {
	columns := 80
	var b bytes.Buffer
	w := NewWatch(&b, Options{Width: 80, Animate: true, columns: func() int { return columns }}, Watched{Title: "x", Every: time.Second})
	w.Add(watching()[3])
	rows := 0
	for _, l := range w.drawn {
		rows += 1 + max(width(l)-1, 0)/50
	}
	if rows <= len(w.drawn) {
		t.Fatalf("no line is wider than 50 columns: %q", w.drawn)
	}
	columns = 50
	b.Reset()
	w.Add(watching()[3])
	if up, _, _ := strings.Cut(b.String(), "A"); up != "\x1b["+strconv.Itoa(rows) {
		t.Errorf("the cursor goes up by %q, want %d", up, rows)
	}
}

// Of a reading that failed nothing is known to be gone; marks fade; a socket
// that takes another's address is another.
func TestWatchMarks(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	row := func(cookie uint64, state string) journal.Socket {
		return journal.Socket{Family: "tcp", State: state, Cookie: cookie, Local: netip.MustParseAddrPort("192.0.2.1:80")}
	}
	type reading struct {
		rows []journal.Socket
		err  error
		want string
	}
	w := NewWatch(&bytes.Buffer{}, Options{Animate: true}, Watched{})
	for i, r := range []reading{
		{[]journal.Socket{row(1, "LISTEN")}, nil, " "},
		{[]journal.Socket{row(1, "LISTEN"), row(2, "ESTABLISHED")}, nil, " +"},
		{[]journal.Socket{row(1, "LISTEN"), row(2, "TIME_WAIT")}, nil, " ~"},
		{[]journal.Socket{row(1, "LISTEN")}, errors.New("lost"), " ~"},
		{[]journal.Socket{row(1, "LISTEN"), row(2, "TIME_WAIT")}, nil, " ~"},
		{[]journal.Socket{row(2, "TIME_WAIT")}, nil, " -"}, // ~ has faded
		{[]journal.Socket{row(3, "LISTEN"), row(2, "TIME_WAIT")}, nil, "+ -"},
		{[]journal.Socket{row(3, "LISTEN")}, nil, "+--"},
		{[]journal.Socket{row(3, "LISTEN")}, nil, "+-"},
	} {
		w.merge(r.rows, Reading{At: at.Add(time.Duration(i) * time.Second), Err: r.err})
		w.begun = true
		got := ""
		for _, row := range w.rows {
			got += string(signs[row.mark])
		}
		if got != r.want {
			t.Errorf("reading %d: marks %q, want %q", i, got, r.want)
		}
	}
}
