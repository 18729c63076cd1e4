package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/tcpstate"
)

// inference works out the state changes of a host from its events, which emit
// hands it.
type inference struct {
	*tcpstate.Host
	hears  bool // the kernel's messages about sockets that are gone
	missed bool // some of them were lost; told once
}

// infer keeps what a host's events tell of its sockets, from its first one on.
func (l *lab) infer(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inferred[host] = &inference{Host: tcpstate.New()}
}

// startInferring begins to hear of sockets that are gone, on the hosts that infer
// was called for and that nothing better is known of.
func (l *lab) startInferring() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for host, i := range l.inferred {
		err := l.diag[host].Hear()
		if i.hears = err == nil; !i.hears {
			l.emit(journal.Event{Kind: journal.KindNote, Host: host, Note: &journal.Note{Text: fmt.Sprintf(
				"that a socket of host %s is gone is seen in tables alone: %v", host, err)}})
		}
	}
}

// hear takes the messages that have come about sockets that are gone. They wait with
// the host's connection to its tables, so that they cost neither a descriptor nor a
// wake-up. mu is held.
func (l *lab) hear(host string) {
	i := l.inferred[host]
	if !i.hears {
		return
	}
	gone, err := l.diag[host].Destroyed()
	now := l.clock()
	for _, s := range gone {
		i.Destroyed(now, s)
	}
	if err != nil && !i.missed {
		i.missed = true
		l.emit(journal.Event{Kind: journal.KindNote, Host: host, Note: &journal.Note{Text: fmt.Sprintf(
			"on host %s %v: what they would have told is seen in the next table, or not at all", host, err)}})
	}
}

// inferStates journals every state change that can be worked out by now. Where
// something is open that a socket table would tell, it reads one. mu is not held.
func (l *lab) inferStates() error {
	if len(l.inferred) == 0 {
		return nil
	}
	l.flush() // the tables of the step were read after the last time
	if !l.emitInferred() {
		return nil
	}
	err := l.lookForStates()
	l.flush()
	l.emitInferred()
	return err
}

// emitInferred journals what is known, and reports whether a table would tell
// more. mu is not held.
func (l *lab) emitInferred() (open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, host := range slices.Sorted(maps.Keys(l.inferred)) {
		l.hear(host)
		l.emitAll(host, l.inferred[host].Take())
		open = l.inferred[host].Open() || open
	}
	return open
}

// lookForStates reads the hosts' tables for what is open. mu is not held.
func (l *lab) lookForStates() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	for host, i := range l.inferred {
		t, err := l.readTable(host, 0)
		if err != nil {
			errs = append(errs, err)
			t.Error = err.Error()
		}
		i.Add(journal.Event{T: l.clock(), Host: host, Sockets: &t})
	}
	return errors.Join(errs...)
}

// lastWord bounds the wait for the kernel's message that a socket is gone, which
// it leaves to a worker.
const lastWord = 200 * time.Millisecond

// inferLast journals what the end of the lab's programs has done, and waits for
// the names of sockets that no call and no table has told. mu is not held.
func (l *lab) inferLast() error {
	if len(l.inferred) == 0 || l.network == nil {
		return nil
	}
	err := errors.Join(l.lookForStates(), l.inferStates())
	// What is not named by the deadline is told without a name.
	l.await(context.Background(), l.clock()+int64(lastWord), func() (bool, time.Duration) {
		named := true
		for host, i := range l.inferred {
			l.hear(host)
			named = named && (!i.hears || i.missed || i.Unnamed() == 0)
		}
		return named, time.Millisecond
	})
	return err
}

// endInferring journals the last state changes. mu is held.
func (l *lab) endInferring() {
	for _, host := range slices.Sorted(maps.Keys(l.inferred)) {
		i := l.inferred[host]
		l.hear(host)
		l.emitAll(host, i.End())
	}
	clear(l.inferred)
}
