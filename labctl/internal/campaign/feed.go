package campaign

import (
	"sync"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
)

// feed hands what happens to a Show on a goroutine of its own, in order, by a
// queue without a bound: whoever feeds it never waits for a terminal.
type feed struct {
	mu     sync.Mutex
	more   sync.Cond
	queue  []func()
	closed bool
	idle   chan struct{} // closed when all has been shown
	show   Show
}

func newFeed(show Show) *feed {
	f := &feed{show: show, idle: make(chan struct{})}
	f.more.L = &f.mu
	go f.drain()
	return f
}

func (f *feed) event(run int, e journal.Event) {
	f.add(func() { f.show.Event(run, e) })
}

func (f *feed) done(run int, d report.Document, folder string, err error) {
	f.add(func() { f.show.Done(run, d, folder, err) })
}

func (f *feed) listed(index string, err error) {
	f.add(func() { f.show.Listed(index, err) })
}

func (f *feed) add(show func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, show)
	f.more.Signal()
}

// flush returns when all that was added so far has been shown.
func (f *feed) flush() {
	shown := make(chan struct{})
	f.add(func() { close(shown) })
	<-shown
}

func (f *feed) drain() {
	defer close(f.idle)
	for {
		f.mu.Lock()
		for len(f.queue) == 0 && !f.closed {
			f.more.Wait()
		}
		queue := f.queue
		f.queue = nil
		f.mu.Unlock()
		if len(queue) == 0 {
			return
		}
		for _, show := range queue {
			show()
		}
	}
}

// close returns when all has been shown.
func (f *feed) close() {
	f.mu.Lock()
	f.closed = true
	f.more.Signal()
	f.mu.Unlock()
	<-f.idle
}
