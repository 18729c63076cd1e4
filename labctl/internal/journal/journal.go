package journal

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Clock reads CLOCK_MONOTONIC in nanoseconds. Tests inject their own.
type Clock func() int64

// Since is the clock that counts from the CLOCK_MONOTONIC reading start.
func Since(start int64) Clock {
	return func() int64 { return Monotonic() - start }
}

// Monotonic is CLOCK_MONOTONIC in nanoseconds: one clock for every process of
// the machine, unlike time.Now's, which has a start of its own in each.
func Monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // the clock always exists; only a bad address could fail
	}
	return ts.Nano()
}

// Clocks reads CLOCK_MONOTONIC and CLOCK_REALTIME together, in nanoseconds. What
// lies between the two readings is less than the shortest of several tries, well
// under a microsecond.
func Clocks() (monotonic, wall int64) {
	const tries = 5
	shortest := int64(math.MaxInt64)
	for range tries {
		var ts unix.Timespec
		before := Monotonic()
		if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
			panic(err) // as in Monotonic
		}
		after := Monotonic()
		if after-before < shortest {
			shortest, monotonic, wall = after-before, before+(after-before)/2, ts.Nano()
		}
	}
	return monotonic, wall
}

// Writer numbers events and writes each as one line, at once. It may be used
// from several goroutines; lines come out in the order of their numbers.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	n   int
	err error
}

// NewWriter writes to w events numbered from first.
func NewWriter(w io.Writer, first int) *Writer { return &Writer{w: w, n: first} }

// Write numbers the event, writes it and returns its number. After a failed
// write it only counts; Err tells.
func (w *Writer) Write(e Event) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.N = w.n
	w.n++
	line, err := json.Marshal(e)
	if err == nil && w.err == nil {
		_, err = w.w.Write(append(line, '\n'))
	}
	if w.err == nil {
		w.err = err
	}
	return e.N
}

// Err is the first failure to write.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// ErrNotJournal says that a file's first line is not a journal's header.
var ErrNotJournal = errors.New("not a journal: its first line is not a header")

// ReadAll reads a whole journal, in the order in which things happened, whatever
// the order in which they were heard of: by T, and at one T by N. Its last line may be cut short, as a killed
// run leaves it: that line is passed over. Any other damaged line is an error
// that names the line; the events before it are returned with it.
func ReadAll(r io.Reader) ([]Event, error) {
	var events []Event
	br := bufio.NewReaderSize(r, 1<<16)
	for line := 1; ; line++ {
		b, err := br.ReadBytes('\n')
		if err == io.EOF {
			if len(events) == 0 {
				return nil, ErrNotJournal
			}
			return byTime(events), nil // what stands in b was cut short
		}
		if err != nil {
			return byTime(events), err
		}
		b = bytes.TrimSuffix(b, []byte("\n"))
		var e Event
		if line == 1 {
			e, err = header(b)
		} else if err = json.Unmarshal(b, &e); err != nil {
			err = damaged(line, err)
		}
		if err != nil && line == 1 {
			return nil, err
		}
		if err != nil {
			return byTime(events), err
		}
		events = append(events, e)
	}
}

// byTime puts events after the header in the order of their time.
func byTime(events []Event) []Event {
	if len(events) > 1 {
		slices.SortStableFunc(events[1:], func(a, b Event) int { return cmp.Compare(a.T, b.T) })
	}
	return events
}

// Virtual is Duration for a run whose clock was warped: nobody waited that long.
func Virtual(ns int64) string { return Duration(ns) + " virtual" }

// Duration prints nanoseconds as people read them: "61.440 s", "2.310 ms",
// "45.1 µs".
func Duration(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%.3f s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%.3f ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%.1f µs", float64(d)/1e3)
}
