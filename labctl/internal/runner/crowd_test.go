package runner

import (
	"runtime"
	"slices"
	"testing"
)

// TestTurns gives turns to labs that have begun before those that have not, and
// among each to who has waited longest.
func TestTurns(t *testing.T) {
	c := &crowd{free: 1}
	c.take(true)
	served := make(chan string, 4)
	waiting := func(fresh, begun int) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return len(c.fresh) == fresh && len(c.begun) == begun
	}
	fresh, begun := 0, 0
	for _, name := range []string{"fresh 1", "begun 1", "fresh 2", "begun 2"} {
		isFresh := name[0] == 'f'
		if isFresh {
			fresh++
		} else {
			begun++
		}
		go func() {
			c.take(isFresh)
			served <- name
			c.give()
		}()
		for !waiting(fresh, begun) { // until it stands in its queue
			runtime.Gosched()
		}
	}
	c.give()
	var order []string
	for range 4 {
		order = append(order, <-served)
	}
	if want := []string{"begun 1", "begun 2", "fresh 1", "fresh 2"}; !slices.Equal(order, want) {
		t.Errorf("served %q, want %q", order, want)
	}
	if c.take(true); !waiting(0, 0) {
		t.Fatal("somebody waits, but nobody is there")
	}
}
