package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/trace"
)

// openTrace begins to load the exact layer, which all labs share, and returns:
// that takes about as long as building them.
func (in *inside) openTrace(ctx context.Context) {
	type result struct {
		tracer *trace.Tracer
		err    error
	}
	var opened result
	done := make(chan struct{})
	go func() {
		defer close(done)
		if opened.tracer, opened.err = trace.Open(in.epoch); opened.err == nil {
			go opened.tracer.Run(ctx)
		}
		// The kernel's types, tens of megabytes, were needed only to load, and
		// this process may wait for a minute.
		debug.FreeOSMemory()
	}()
	in.traced = func() (*trace.Tracer, error) {
		<-done
		return opened.tracer, opened.err
	}
}

// watchHosts begins to record the state changes on the lab's hosts: as the kernel
// tells them, or else as they can be worked out, which a note says.
func (l *lab) watchHosts() error {
	if l.layer == scenario.LayerInferred {
		l.startInferring()
		return nil
	}
	tracer, err := l.traced()
	if err != nil {
		why := err.Error()
		if u := (*trace.Unavailable)(nil); errors.As(err, &u) {
			why = fmt.Sprintf("%s: %v", u.What, u.Err) // doctor gives the hint too
		}
		l.tell("state changes are inferred from segments, calls and tables, and those that none of these shows are missing: the kernel does not tell of them here (%s); see labctl doctor", why)
		l.startInferring()
		return nil
	}
	if limits := tracer.Describe(); limits != "" {
		l.tell("%s", limits)
	}
	for _, h := range l.plan.Hosts {
		var cookie uint64
		err := l.network.Host(h.Name).Do(func() (err error) {
			cookie, err = netCookie()
			return err
		})
		if err != nil {
			l.tell("the kernel does not tell of state changes on host %s (%v): they are inferred", h.Name, err)
			continue
		}
		watch, err := tracer.Watch(cookie, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			if w := l.traces[h.Name]; w != nil { // nil: not begun yet, or over
				l.emitAll(h.Name, w.Take())
				if l.warped {
					l.notify() // nobody looks there meanwhile
				}
			}
		})
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.traces[h.Name] = watch
		if l.layer != scenario.BothLayers {
			delete(l.inferred, h.Name)
		}
		l.mu.Unlock()
	}
	l.startInferring()
	return nil
}

// netCookie is the cookie of the calling thread's network namespace, never used
// again for another (socket(7), SO_NETNS_COOKIE).
func netCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("read SO_NETNS_COOKIE, of Linux 5.14 and newer: %w", err)
	}
	return cookie, nil
}

// addBindings adds to the rows of a host's table what the kernel's memory holds of
// the sockets. Without the exact layer, or on a host that it does not watch, they
// stay as they are. mu is held.
func (l *lab) addBindings(host string, rows []journal.Socket) {
	if l.traces[host] == nil {
		return
	}
	tracer, err := l.traced() // loaded: it watches the host
	var bindings trace.Bindings
	if err == nil {
		err = l.network.Host(host).Do(func() (err error) {
			bindings, err = tracer.Bindings()
			return err
		})
	}
	if err != nil {
		l.emit(journal.Event{Kind: journal.KindNote, Host: host, Note: &journal.Note{Text: fmt.Sprintf(
			"what the kernel's memory holds of the sockets on the port is not known: %v", err)}})
		return
	}
	bindings.AddTo(rows)
}

// flushTraces journals every state change up to now. mu is held.
func (l *lab) flushTraces() error {
	var errs []error
	for _, host := range slices.Sorted(maps.Keys(l.traces)) {
		events, err := l.traces[host].Flush(func() ([]journal.Socket, error) {
			t, err := l.readTable(host, 0)
			return t.Rows, err
		})
		l.emitAll(host, events)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// endTraces does so for the last time. mu is held.
func (l *lab) endTraces() error {
	err := l.flushTraces()
	for _, watch := range l.traces {
		err = errors.Join(err, watch.Close())
	}
	clear(l.traces)
	return err
}

// emitAll journals an observer's events of a host. mu is held.
func (l *lab) emitAll(host string, events []journal.Event) {
	for _, e := range events {
		e.Host = host
		l.emit(e)
	}
}

// tell writes a note of this lab.
func (l *lab) tell(format string, args ...any) {
	l.record(journal.Event{Kind: journal.KindNote, Note: &journal.Note{Text: fmt.Sprintf(format, args...)}})
}
