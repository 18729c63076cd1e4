package view

import (
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
)

// eraseLine returns the cursor to the first column and clears the line.
const eraseLine = "\r\x1b[K"

// screen writes settled lines and keeps at most one live line below them. It
// has no lock of its own.
type screen struct {
	w    io.Writer
	page page
	now  string // the live line as drawn, "" if there is none
	err  error  // the first one of w
}

// print writes settled lines above the live line, in one write.
func (s *screen) print(lines ...string) {
	if len(lines) == 0 {
		return
	}
	var b strings.Builder
	if s.now != "" {
		b.WriteString(eraseLine)
	}
	for _, l := range lines {
		b.WriteString(strings.TrimRight(l, " "))
		b.WriteByte('\n')
	}
	b.WriteString(s.now)
	s.write(b.String())
}

// live replaces the live line; "" takes it away. The line stays one column
// short of the width, so that the cursor never moves to the next row.
func (s *screen) live(text string) {
	if s.page.Width > 0 {
		text = ansi.Truncate(text, s.page.Width-1, "")
	}
	if text == s.now {
		return
	}
	s.now = text
	s.write(eraseLine + text)
}

// resize follows the terminal's width, for the live line alone.
func (s *screen) resize(columns func() int) {
	if columns == nil {
		return
	}
	if n := columns(); n > 0 {
		s.page.Width = n
	}
}

func (s *screen) write(text string) {
	if _, err := io.WriteString(s.w, text); err != nil && s.err == nil {
		s.err = err
	}
}

// ticker calls a function every frame until it is stopped.
type ticker struct {
	quit, gone chan struct{}
	once       sync.Once
}

func startTicker(f func()) *ticker {
	t := &ticker{quit: make(chan struct{}), gone: make(chan struct{})}
	go func() {
		defer close(t.gone)
		tick := time.NewTicker(frame)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-t.quit:
				return
			}
		}
	}()
	return t
}

// stop returns when the function is not running and never will again. It must
// not be called from within it. A nil ticker is stopped.
func (t *ticker) stop() {
	if t == nil {
		return
	}
	t.once.Do(func() { close(t.quit) })
	<-t.gone
}
