package netlab

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/netlab/netlabtest"
)

// TestDrop drops the segments of a handshake and lets others through.
func TestDrop(t *testing.T) {
	netlabtest.Need(t)
	for _, c := range []struct {
		drop Drop
		at   string // the host
		lost bool
	}{
		{Drop{Segments: "SYN"}, "server", true},
		{Drop{Segments: "SYN"}, "client", true}, // SYN and ACK
		{Drop{Segments: "any"}, "server", true},
		{Drop{Segments: "SYN", To: 12500}, "server", true},
		{Drop{Segments: "SYN", To: 12501}, "server", false},
		{Drop{Segments: "SYN", From: 12500}, "client", true},
		{Drop{Segments: "SYN", From: 12500}, "server", false},
		{Drop{Segments: "FIN"}, "server", false},
		{Drop{Segments: "RST"}, "server", false},
		{Drop{Segments: "ACK"}, "server", false}, // connect() returns before it
		{Drop{Segments: "SYN", Count: 1}, "server", true},
	} {
		t.Run(c.drop.String()+" at "+c.at, func(t *testing.T) {
			n, err := New(pair())
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			if err := n.Host(c.at).Drop(c.drop); err != nil {
				t.Fatal(err)
			}
			at := netip.AddrPortFrom(pair()[0].Addresses[0].Addr(), 12500)
			l, err := listen(n.Host("server"), at)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(l)
			err = connect(n.Host("client"), at, 300*time.Millisecond)
			if lost := errors.Is(err, unix.ETIMEDOUT); lost != c.lost || err != nil && !lost {
				t.Errorf("connect: %v", err)
			}
			if c.drop.Count == 0 {
				return
			}
			// The first was dropped, and no other is.
			if err := connect(n.Host("client"), at, 300*time.Millisecond); err != nil {
				t.Errorf("connect again: %v", err)
			}
		})
	}
	n, err := New(pair())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Host("server").Drop(Drop{Segments: "PSH"}); err == nil || !strings.Contains(err.Error(), "SYN, ACK, FIN, RST, any") {
		t.Error(err)
	}
}
