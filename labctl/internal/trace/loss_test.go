package trace

import (
	"testing"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab/netlabtest"
)

// unread is how many records are in the tracer's ring. Each has a header.
func (t *Tracer) unread() int { return t.reader.AvailableBytes() / (recordLen + 8) }

// TestLoss lets connections come and go that nobody reads of, before a ring with room
// for some 40 records and before one with room for all. What the small one has not
// room for is counted: nothing is missing without a word.
func TestLoss(t *testing.T) {
	network := rig(t)
	small, large := opened(t, 4096), opened(t, ringSize)
	server := network.Host("server")
	host, all := watch(t, small, server), watch(t, large, server)
	pair := netlabtest.Listen(t, server, network.Host("client"), address)
	pair.Visits(t, 50, 10, false)

	told, have := large.unread(), small.unread()
	if told < 400 || have < 30 || have > 50 {
		t.Fatalf("%d records in the large ring, %d in the small", told, have)
	}
	events, err := all.Flush(nothing)
	if err != nil {
		t.Fatal(err)
	}
	if n := lost(events); n != 0 {
		t.Errorf("%d lost of the large ring", n)
	}
	if events, err = host.Flush(nothing); err != nil {
		t.Fatal(err)
	}
	if n := lost(events); n != told-have {
		t.Errorf("%d told to be lost; %d records fitted of %d", n, have, told)
	}
	// What was told is not told again, and on it goes.
	pair.Visits(t, 1, 10, false)
	if events, err = host.Flush(nothing); err != nil {
		t.Fatal(err)
	}
	if n := lost(events); n != 0 || len(events) < 5 {
		t.Errorf("%d lost and %d events after a loss that was told", n, len(events))
	}
}

// nothing is an empty socket table.
func nothing() ([]journal.Socket, error) { return nil, nil }

func lost(events []journal.Event) (n int) {
	for _, e := range events {
		if e.Loss != nil {
			n += e.Loss.Count
		}
	}
	return n
}
