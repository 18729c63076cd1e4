// Package capture records the TCP segments at a host's interface, and writes
// recorded ones as a pcapng file.
//
// Opening a tap needs CAP_NET_RAW over the host's network namespace; the rest
// of the package needs nothing. It promises that a tap changes nothing on the
// host (no promiscuous mode), that segments come in the order in which the
// interface saw them, with the kernel's own time stamps, that it counts those it
// lost, and that Decode and WritePcapng take any bytes and any events without
// harm.
package capture

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// observer is the name of this package in journal.Loss.
const observer = "capture"

const (
	// rest is how long the observer leaves the sockets alone after it has found
	// something. While segments come fast it so wakes up a thousand times a
	// second, and not for each; the sockets have room for what comes meanwhile.
	rest = time.Millisecond
	// longest is how long a segment may wait for the end of what it is part of
	// before it is put into words.
	longest = 100 * time.Millisecond
	// portion is how many segments are put into words before the observer
	// looks at the sockets again.
	portion = 128
	// most is how many frames are read before it puts some into words.
	most = 4096
	// mostWaiting is how many frames of a tap may wait to be put into words,
	// some 40 MiB; what is beyond it is lost, and counted.
	mostWaiting = 100_000
)

// Observer reads the taps of all hosts of an inside, on one thread.
type Observer struct {
	epoll  int
	stamps *stamps
	mu     sync.Mutex
	taps   map[int]*Tap // by descriptor
	done   chan struct{}
}

// NewObserver starts one. It has no taps yet. Until it is closed, or the process
// ends, the machine stamps frames.
func NewObserver() (*Observer, error) {
	stamps, err := newStamps()
	if err != nil {
		return nil, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		unix.Close(stamps.socket)
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	o := &Observer{epoll: epoll, stamps: stamps, taps: map[int]*Tap{}, done: make(chan struct{})}
	go o.loop()
	return o, nil
}

// Close ends an observer whose taps are closed.
func (o *Observer) Close() {
	// A socket that can be written to wakes the loop.
	unix.EpollCtl(o.epoll, unix.EPOLL_CTL_ADD, o.stamps.socket, &unix.EpollEvent{Events: unix.EPOLLOUT, Fd: int32(o.stamps.socket)})
	<-o.done
	unix.Close(o.epoll)
	unix.Close(o.stamps.socket)
}

// Tap records the segments of one interface.
type Tap struct {
	observer *Observer
	where    Place
	emit     func(journal.Event)

	mu      sync.Mutex // also orders what is emitted
	socket  *socket    // nil: closed
	waiting []packet
	lost    int // to be told
}

// Place is where a tap is.
type Place struct {
	Host      string
	Interface string
	Index     int // of the interface
	// Zero is CLOCK_REALTIME, in ns since 1970, at the moment that the
	// journal's clock counts from.
	Zero int64
}

// Open opens a tap in the network namespace of the calling thread, in which lo
// must be up. From when it
// returns until the tap is closed, emit is called with each segment, and with
// each loss, which has no T. It is called by one goroutine at a time, but not
// always by the same, and must not call the tap.
func (o *Observer) Open(where Place, emit func(journal.Event)) (*Tap, error) {
	if err := o.stamps.wait(); err != nil {
		return nil, err
	}
	s, err := openSocket(where.Index)
	if err != nil {
		return nil, err
	}
	t := &Tap{observer: o, where: where, emit: emit, socket: s}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taps[s.fd] = t
	if err := unix.EpollCtl(o.epoll, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(s.fd)}); err != nil {
		delete(o.taps, s.fd)
		s.close()
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return t, nil
}

// Host is the name of the host that the tap is on.
func (t *Tap) Host() string { return t.where.Host }

// loop reads the sockets when there is something in them, and puts into words
// what was read when nothing has come for a while, so that it takes no CPU from
// those who send; if something always comes, then in between.
func (o *Observer) loop() {
	events := make([]unix.EpollEvent, 64)
	waiting := map[*Tap]bool{} // frames of them wait
	var since time.Time        // when the first of them came
	for {
		timeout := -1
		if len(waiting) > 0 {
			timeout = 0
		}
		n, err := unix.EpollWait(o.epoll, events, timeout)
		if err != nil {
			n = 0 // EINTR; nothing else is left to fail
		}
		if n > 0 && len(waiting) == 0 {
			since = time.Now()
		}
		for _, e := range events[:n] {
			if int(e.Fd) == o.stamps.socket {
				close(o.done)
				return
			}
			o.mu.Lock()
			t := o.taps[int(e.Fd)]
			o.mu.Unlock()
			if t != nil { // nil: closed meanwhile
				t.read()
				waiting[t] = true
			}
		}
		if n > 0 && time.Since(since) < longest {
			time.Sleep(rest)
			continue
		}
		for t := range waiting {
			if !t.tell(portion) {
				delete(waiting, t)
			}
		}
	}
}

// read takes what waits in the socket.
func (t *Tap) read() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.socket == nil {
		return
	}
	t.waiting = t.socket.read(t.waiting, most)
	if more := len(t.waiting) - mostWaiting; more > 0 {
		t.waiting = t.waiting[:mostWaiting]
		t.lost += more
	}
	if n, err := t.socket.lost(); err == nil { // it fails for no open socket
		t.lost += n
	}
}

// tell emits up to limit of the waiting segments and reports whether there are
// more. Losses are told when there are none: what was lost came after them.
func (t *Tap) tell(limit int) (more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(limit, len(t.waiting))
	for _, p := range t.waiting[:n] {
		s, ok := Decode(p.frame)
		if !ok {
			continue // TCP by its protocol number alone
		}
		s.Interface, s.Out, s.Wall, s.Frame, s.Size = t.where.Interface, p.out, p.wall, p.frame, p.size
		t.emit(journal.Event{T: p.wall - t.where.Zero, Kind: journal.KindSegment, Host: t.where.Host, Segment: &s})
	}
	t.waiting = t.waiting[n:]
	if len(t.waiting) > 0 {
		return true
	}
	t.waiting = nil
	if t.lost > 0 {
		t.emit(journal.Event{Kind: journal.KindLoss, Host: t.where.Host, Loss: &journal.Loss{Observer: observer, Count: t.lost}})
		t.lost = 0
	}
	return false
}

// Flush returns when emit has been called with all that the interface saw
// before the call.
func (t *Tap) Flush() {
	t.read()
	t.mu.Lock()
	n := len(t.waiting)
	t.mu.Unlock()
	for more := true; more && n >= 0; n -= portion {
		more = t.tell(portion)
	}
}

// Close flushes the tap and ends it. It may be called again.
func (t *Tap) Close() {
	t.Flush()
	t.mu.Lock()
	s := t.socket
	t.socket = nil
	t.mu.Unlock()
	if s == nil {
		return
	}
	t.observer.mu.Lock()
	delete(t.observer.taps, s.fd)
	t.observer.mu.Unlock()
	unix.EpollCtl(t.observer.epoll, unix.EPOLL_CTL_DEL, s.fd, nil)
	s.close()
}
