package journal

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Book is a journal sorted by lab, its lines not yet decoded: a thousand labs
// may stand in one, of which few are looked at as a whole.
type Book struct {
	// Header is the journal's first event.
	Header Event
	// Labs are the names of its labs, in the order of their first events.
	Labs  []string
	lines map[string][][]byte // by lab; "" has those of no lab
	brief []brief
}

// brief is a line that tells how labs went.
type brief struct {
	line []byte
	at   int // in the file, from 1
}

// ReadBook reads a whole journal. Like ReadAll it passes over a last line that
// was cut short; of a line that is damaged otherwise the error names the number,
// and the book has what stands before it.
func ReadBook(r io.Reader) (*Book, error) {
	b := &Book{lines: map[string][][]byte{}}
	br := bufio.NewReaderSize(r, 1<<16)
	for at := 1; ; at++ {
		line, err := br.ReadBytes('\n')
		if err == io.EOF {
			if at == 1 {
				return nil, ErrNotJournal
			}
			return b, nil
		}
		if err != nil {
			if at == 1 {
				return nil, err
			}
			return b, err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if at == 1 {
			if b.Header, err = header(line); err != nil {
				return nil, err
			}
			continue
		}
		var e struct {
			Lab  string
			Kind Kind
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return b, damaged(at, err)
		}
		if _, known := b.lines[e.Lab]; !known && e.Lab != "" {
			b.Labs = append(b.Labs, e.Lab)
		}
		b.lines[e.Lab] = append(b.lines[e.Lab], line)
		switch e.Kind {
		case KindLab, KindStep, KindHost, KindLoss, KindNote:
			b.brief = append(b.brief, brief{line, at})
		}
	}
}

// Events are the header, the events of no lab, and those of the named one, in
// the order of their time.
func (b *Book) Events(lab string) ([]Event, error) {
	events := []Event{b.Header}
	add := func(lines [][]byte) error {
		for _, line := range lines {
			var e Event
			if err := json.Unmarshal(line, &e); err != nil {
				return fmt.Errorf("a line of the journal is damaged: %w", err)
			}
			events = append(events, e)
		}
		return nil
	}
	err := add(b.lines[""])
	if lab != "" {
		err = errors.Join(err, add(b.lines[lab]))
	}
	return byTime(events), err
}

// Brief hands over the header, and of all labs the events that tell how they
// went: labs, hosts, steps, losses and notes. Those of one lab come in the order
// in which they were written.
func (b *Book) Brief(see func(Event)) error {
	see(b.Header)
	for _, l := range b.brief {
		var e Event
		if err := json.Unmarshal(l.line, &e); err != nil {
			return damaged(l.at, err)
		}
		see(e)
	}
	return nil
}

// header reads a journal's first line.
func header(line []byte) (Event, error) {
	var e Event
	if json.Unmarshal(line, &e) != nil || e.Kind != KindHeader || e.Header == nil {
		return e, ErrNotJournal
	}
	if e.Header.Version != Version {
		return e, fmt.Errorf("the journal has format %d; this labctl reads format %d", e.Header.Version, Version)
	}
	return e, nil
}

func damaged(line int, err error) error {
	return fmt.Errorf("line %d of the journal is damaged: %w", line, err)
}
