// Package trace is the exact layer: every change of a TCP socket's state, told
// by the kernel at the moment it happens, the birth and end of TIME_WAIT and of
// handshakes included; every RST that a host sends or a socket takes; and, when
// asked, what the kernel's memory holds of the sockets on a port.
//
// It assumes Linux 5.14 or newer with BTF, and CAP_BPF and CAP_PERFMON, or
// CAP_SYS_ADMIN, outside any user namespace; Open tries that for real, and where it is
// refused returns an *Unavailable that says what was. It promises that only
// watched hosts are recorded, that what the kernel could not hand over is counted
// and told, and that nothing stays in the kernel when the process ends.
//
// The kernel's side is observe.bpf.c. decode and tracker, which say what its
// records mean, are pure.
package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

//go:generate go run github.com/cilium/ebpf/cmd/bpf2go -go-package trace -target bpfel observe observe.bpf.c

// Tracer records the hosts that are watched. Its methods may be called from any
// goroutine.
type Tracer struct {
	epoch         int64 // CLOCK_MONOTONIC at 0 of the journal's clock, ns
	offset        int64 // what this time namespace adds to that clock
	tick          int64
	blind         bool
	reasons       map[uint8]string // why an RST is sent, in the kernel's words
	limits        []string         // what this kernel does not tell
	links         []link.Link
	bindings      *link.Iter // nil where the kernel has no such iterator
	watched, lost *ebpf.Map
	records       *ebpf.Map // the ring buffer

	mu     sync.Mutex
	reader *ringbuf.Reader
	buffer ringbuf.Record
	hosts  map[uint64]*Host
}

// Host is one network namespace that is watched.
type Host struct {
	tracer  *Tracer
	cookie  uint64
	arrived func()

	// Guarded by the tracer's mutex.
	tracker *tracker
	waiting []transition
	resets  []journal.Event
	lost    uint64 // told so far
	broken  int    // records that could not be decoded, not told yet
}

// CountFrom makes the times of events count from another reading of
// CLOCK_MONOTONIC than Open was given. No host is watched yet.
func (t *Tracer) CountFrom(epoch int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.epoch = epoch
}

// Close lets go of the kernel's side.
func (t *Tracer) Close() error {
	var errs []error
	for _, l := range t.links {
		errs = append(errs, l.Close())
	}
	if t.bindings != nil {
		errs = append(errs, t.bindings.Close())
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	errs = append(errs, t.reader.Close(), t.watched.Close(), t.lost.Close(), t.records.Close())
	return errors.Join(errs...)
}

// Watch begins to record the host with this network cookie (SO_NETNS_COOKIE).
// Run calls arrived when Take has something to give; arrived may call Take and
// Flush.
func (t *Tracer) Watch(cookie uint64, arrived func()) (*Host, error) {
	h := &Host{tracer: t, cookie: cookie, arrived: arrived, tracker: newTracker(t.tick, t.blind)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hosts[cookie] = h
	if err := t.watched.Put(cookie, uint8(1)); err != nil {
		delete(t.hosts, cookie)
		return nil, fmt.Errorf("watch the sockets of network namespace %d: %w", cookie, err)
	}
	return h, nil
}

// The times between two looks into the ring buffer. It holds 43,000 records, more
// than two cores can make in any of them.
const (
	soon = 5 * time.Millisecond
	late = 100 * time.Millisecond // when nothing has come for a while
)

// Run reads the ring buffer until ctx is done.
func (t *Tracer) Run(ctx context.Context) {
	pace := soon
	timer := time.NewTimer(pace)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		pace = min(2*pace, late)
		if t.pass() {
			pace = soon
		}
		timer.Reset(pace)
	}
}

// RunWoken is Run that waits for the kernel to say that there is something, instead
// of looking: for a machine on which looking is all that waiting costs. It takes a
// tracer of OpenWoken, and returns when that fails, or is closed.
func (t *Tracer) RunWoken() error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	defer unix.Close(epoll)
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, t.records.FD(), &unix.EpollEvent{Events: unix.EPOLLIN}); err != nil {
		return fmt.Errorf("wait for records of the kernel: %w", err)
	}
	for {
		if _, err := unix.EpollWait(epoll, make([]unix.EpollEvent, 1), -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("wait for records of the kernel: %w", err)
		}
		t.pass()
	}
}

// pass takes what is in the ring buffer, tells the hosts that have something of it,
// and reports whether there was anything.
func (t *Tracer) pass() (some bool) {
	t.mu.Lock()
	some = t.drain()
	var have []*Host
	for _, h := range t.hosts {
		if len(h.waiting) > 0 {
			have = append(have, h)
		}
	}
	t.mu.Unlock()
	for _, h := range have {
		h.arrived()
	}
	return some
}

// drain hands what is in the ring buffer to the hosts' trackers, and reports
// whether there was anything. mu is held.
func (t *Tracer) drain() (some bool) {
	if t.reader.AvailableBytes() == 0 {
		return false
	}
	t.reader.SetDeadline(time.Unix(1, 0)) // past: all there is, and no waiting
	for t.reader.ReadInto(&t.buffer) == nil {
		some = true
		r, err := decode(t.buffer.RawSample)
		h := t.hosts[r.net]
		switch {
		case err != nil:
			for _, h := range t.hosts { // whose it was is not known
				h.broken++
			}
		case h != nil: // nil: its lab is over
			r.time -= t.epoch - t.offset
			h.waiting = append(h.waiting, h.tracker.add(r)...)
			if r.kind == resetReceived || r.kind == resetSent {
				h.resets = append(h.resets, r.reset(t.reasons))
			}
		}
	}
	return some
}

// Take returns the transitions and resets that have been recognised and not yet
// been taken.
func (h *Host) Take() []journal.Event {
	h.tracer.mu.Lock()
	defer h.tracer.mu.Unlock()
	return h.take()
}

// take does it with mu held.
func (h *Host) take() []journal.Event {
	inOrder(h.waiting)
	var events []journal.Event
	for _, w := range h.waiting {
		s := w.State
		events = append(events, journal.Event{T: w.t, Kind: journal.KindState, State: &s})
	}
	events = append(events, h.resets...)
	slices.SortStableFunc(events, func(a, b journal.Event) int { return cmp.Compare(a.T, b.T) })
	h.waiting, h.resets = h.waiting[:0], h.resets[:0]
	return events
}

// Flush returns, beside what Take does, every transition and reset that the kernel
// made before the call, and the number of those that it could not hand over since the
// last Flush. It calls table for the host's whole socket table if something is open
// that only the table can tell, such as the port of a socket in SYN_SENT; without
// a table that stays open.
func (h *Host) Flush(table func() ([]journal.Socket, error)) ([]journal.Event, error) {
	t := h.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drain()
	var err error
	if h.tracker.unsettled() {
		start := journal.Monotonic() - t.epoch
		var rows []journal.Socket
		if rows, err = table(); err == nil {
			t.drain()
			h.waiting = append(h.waiting, h.tracker.settle(rows, start)...)
		}
	}
	events := h.take()
	var lost uint64
	switch e := t.lost.Lookup(h.cookie, &lost); {
	case errors.Is(e, ebpf.ErrKeyNotExist):
	case e != nil:
		err = errors.Join(err, fmt.Errorf("read how many records were lost: %w", e))
	}
	if n := int(lost-h.lost) + h.broken; n > 0 {
		h.lost, h.broken = lost, 0
		events = append(events, journal.Event{T: journal.Monotonic() - t.epoch, Kind: journal.KindLoss,
			Loss: &journal.Loss{Observer: "trace", Count: n}})
	}
	return events, err
}

// Close ends the watch. What was not taken is gone.
func (h *Host) Close() error {
	t := h.tracer
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.hosts, h.cookie)
	t.lost.Delete(h.cookie) // ErrKeyNotExist: nothing was lost
	if err := t.watched.Delete(h.cookie); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("end the watch of network namespace %d: %w", h.cookie, err)
	}
	return nil
}

// Describe says what the layer cannot see on this kernel, empty if it sees all.
func (t *Tracer) Describe() string { return strings.Join(t.limits, "; ") }
