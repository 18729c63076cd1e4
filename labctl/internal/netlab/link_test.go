package netlab

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/netlab/netlabtest"
	"restartlab/labctl/internal/scenario"
)

func TestSetLink(t *testing.T) {
	netlabtest.Need(t)
	n := newNetwork(t, pair()...)
	server, client := n.Host("server"), n.Host("client")
	reachable := func(want bool) {
		t.Helper()
		for _, a := range []string{"192.168.44.144", "2001:db8:44::144"} {
			at := netip.AddrPortFrom(netip.MustParseAddr(a), 12500)
			patience := 5 * time.Second
			if !want {
				patience = 100 * time.Millisecond
			}
			l, err := listen(server, netip.AddrPortFrom(netip.IPv6Unspecified(), 12500))
			if err != nil {
				t.Fatal(err)
			}
			err = connect(client, at, patience)
			unix.Close(l)
			if (err == nil) != want {
				t.Errorf("connect to %v: %v", at, err)
			}
		}
	}
	set := func(h *Host, up bool) {
		t.Helper()
		begin := time.Now()
		if err := h.SetLink(up); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("SetLink(%v) took %v", up, took)
		}
	}
	reachable(true)
	set(server, false)
	reachable(false)
	set(server, false) // again, without effect
	set(server, true)
	reachable(true)
	set(client, true) // is up
	reachable(true)
	set(client, false)
	set(server, false)
	set(client, true) // no carrier while the other end is down
	reachable(false)
	set(server, true)
	reachable(true)
}

func TestSetLinkOfOneHost(t *testing.T) {
	netlabtest.Need(t)
	n := newNetwork(t, scenario.Host{Name: "only", Addresses: prefixes("192.168.44.144/24", "2001:db8:44::144/64")})
	h := n.Host("only")
	at := netip.MustParseAddrPort("[2001:db8:44::144]:12500")
	if err := h.SetLink(false); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(h, at); err != unix.EADDRNOTAVAIL {
		t.Errorf("bind while lo is down: %v", err)
	}
	if err := h.SetLink(true); err != nil {
		t.Fatal(err)
	}
	l, err := listen(h, at)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(l)
	if err := connect(h, at, 5*time.Second); err != nil {
		t.Errorf("connect: %v", err)
	}
}
