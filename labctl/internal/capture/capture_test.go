package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/netlab/netlabtest"
	"restartlab/labctl/internal/scenario"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

// rig is a lab whose taps write into seen.
type rig struct {
	network *netlab.Network
	taps    []*Tap
	mu      sync.Mutex
	seen    map[string][]journal.Event // by host
}

func newRig(t testing.TB, hosts ...scenario.Host) *rig {
	t.Helper()
	netlabtest.Need(t)
	network, err := netlab.New(hosts)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{network: network, seen: map[string][]journal.Event{}}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *rig) tap(t testing.TB) {
	t.Helper()
	o, err := NewObserver()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	for _, h := range []*netlab.Host{r.network.Host("server"), r.network.Host("client")} {
		if h == nil {
			continue
		}
		err := h.Do(func() error {
			tap, err := o.Open(Place{Host: h.Name(), Interface: h.Interface(), Index: h.InterfaceIndex()}, func(e journal.Event) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.seen[h.Name()] = append(r.seen[h.Name()], e)
			})
			if err == nil {
				r.taps = append(r.taps, tap)
				t.Cleanup(tap.Close)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// flushed are the events of a host up to now.
func (r *rig) flushed(host string) []journal.Event {
	for _, tap := range r.taps {
		tap.Flush()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.seen[host])
}

func two() []scenario.Host {
	return []scenario.Host{
		{Name: "server", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("fd00::1/64")}},
		{Name: "client", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")}},
	}
}

func (r *rig) listen(t testing.TB, a netip.Addr) *netlabtest.Pair {
	t.Helper()
	server, client := r.network.Host("server"), r.network.Host("client")
	if client == nil {
		client = server
	}
	return netlabtest.Listen(t, server, client, a)
}

// shape is what of a segment is the same in every run: "out SYN 0".
func shape(e journal.Event) string {
	if e.Segment == nil {
		return string(e.Kind)
	}
	way := "in"
	if e.Segment.Out {
		way = "out"
	}
	return fmt.Sprintf("%s %s %d", way, strings.Join(e.Segment.Flags, ","), e.Segment.Length)
}

func count(events []journal.Event) map[string]int {
	n := map[string]int{}
	for _, e := range events {
		n[shape(e)]++
	}
	return n
}

// TestTap sees a connection from both ends, over IPv4 and IPv6: each segment
// once leaving and once arriving, no earlier, and with a right checksum.
func TestTap(t *testing.T) {
	for _, a := range []string{"10.0.0.1", "fd00::1"} {
		t.Run(a, func(t *testing.T) {
			r := newRig(t, two()...)
			r.tap(t)
			p := r.listen(t, netip.MustParseAddr(a))
			p.Visits(t, 1, 20_000, false)
			server, client := r.flushed("server"), r.flushed("client")
			if len(server) < 7+20_000/1460 || len(server) != len(client) {
				t.Fatalf("%d segments at the server, %d at the client", len(server), len(client))
			}
			key := func(e journal.Event) string {
				s := e.Segment
				return fmt.Sprint(s.From, s.Flags, s.Seq, s.Ack, s.Length, s.Window)
			}
			arrived := map[string][]int64{}
			payload := 0
			for _, events := range [][]journal.Event{server, client} {
				for i, e := range events {
					s := e.Segment
					if s == nil {
						t.Fatalf("event %d is %s", i, shape(e))
					}
					if e.T != s.Wall || s.Interface != "eth0" || s.Size != 66+s.Length+extra(s) || len(s.Frame) != min(s.Size, keep) {
						t.Errorf("%+v", s)
					}
					if s.Length > 1460 {
						t.Errorf("%d bytes in one segment", s.Length)
					}
					if len(s.Frame) == s.Size && !rightChecksum(s.Frame) {
						t.Errorf("wrong checksum: %s", shape(e))
					}
					if !s.Out {
						arrived[key(e)] = append(arrived[key(e)], e.T)
					}
				}
			}
			for _, e := range slices.Concat(server, client) {
				if !e.Segment.Out {
					continue
				}
				payload += e.Segment.Length
				at := arrived[key(e)]
				if len(at) == 0 || at[0] < e.T {
					t.Errorf("%s left at %d, arrived at %v", shape(e), e.T, at)
					continue
				}
				arrived[key(e)] = at[1:]
			}
			if payload != 20_000 {
				t.Errorf("%d bytes were sent", payload)
			}
			for i, want := range []string{"in SYN 0", "out SYN,ACK 0", "in ACK 0"} {
				if got := shape(server[i]); got != want {
					t.Errorf("segment %d at the server is %s, want %s", i, got, want)
				}
			}
		})
	}
}

// extra is by how much the headers are longer than with IPv4 and time stamps.
func extra(s *journal.Segment) int {
	n := 0
	if s.From.Addr().Is6() {
		n += 20
	}
	if slices.Contains(s.Flags, "SYN") {
		n += 8
	}
	return n
}

// rightChecksum adds up a frame that is whole (RFC 1071; pseudo headers of RFC
// 9293, 3.1 and RFC 8200, 8.1).
func rightChecksum(frame []byte) bool {
	ip := frame[etherLen:]
	addresses, tcp := ip[12:20], ip[20:]
	if ip[0]>>4 == 6 {
		addresses, tcp = ip[8:40], ip[40:]
	}
	sum := uint32(protocolTCP) + uint32(len(tcp))
	for _, b := range [][]byte{addresses, tcp} {
		if len(b)%2 == 1 {
			b = append(slices.Clone(b), 0)
		}
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return sum == 0xffff
}

// TestReset sees a reset.
func TestReset(t *testing.T) {
	r := newRig(t, two()...)
	r.tap(t)
	r.listen(t, netip.MustParseAddr("10.0.0.1")).Visits(t, 1, 0, true)
	if n := count(r.flushed("client"))["in ACK,RST 0"]; n != 1 {
		t.Errorf("%d resets at the client: %v", n, count(r.flushed("client")))
	}
}

// TestOneHost sees each segment twice on lo: going out and coming in.
func TestOneHost(t *testing.T) {
	r := newRig(t, two()[0])
	r.tap(t)
	r.listen(t, netip.MustParseAddr("10.0.0.1")).Visits(t, 1, 10, false)
	n := count(r.flushed("server"))
	if n["out SYN 0"] != 1 || n["in SYN 0"] != 1 || n["out ACK,PSH 10"] != 1 || n["in ACK,PSH 10"] != 1 {
		t.Errorf("%v", n)
	}
}

// TestLinkDown goes on after the interface was down, which leaves an error on the
// socket.
func TestLinkDown(t *testing.T) {
	r := newRig(t, two()...)
	r.tap(t)
	p := r.listen(t, netip.MustParseAddr("10.0.0.1"))
	p.Visits(t, 1, 10, false)
	for _, up := range []bool{false, true} {
		if err := r.network.Host("client").SetLink(up); err != nil {
			t.Fatal(err)
		}
	}
	p.Visits(t, 1, 10, false)
	if n := count(r.flushed("client")); n["out SYN 0"] != 2 || n["in ACK,PSH 10"] != 2 {
		t.Errorf("%v", n)
	}
}

// TestLoss fills the socket while nobody may read it: what did not fit is
// counted, and with what was recorded makes all.
func TestLoss(t *testing.T) {
	r := newRig(t, two()...)
	r.tap(t)
	p := r.listen(t, netip.MustParseAddr("10.0.0.1"))
	server, client := r.taps[0], r.taps[1]
	small(t, server)
	server.mu.Lock()
	p.Visits(t, 300, 10, false)
	server.mu.Unlock()
	client.Flush()
	lost, recorded := 0, 0
	for _, e := range r.flushed("server") {
		if e.Loss != nil {
			if e.Loss.Observer != "capture" {
				t.Errorf("observer %q", e.Loss.Observer)
			}
			lost += e.Loss.Count
		} else {
			recorded++
		}
	}
	all := r.flushed("client")
	if n := count(all)["loss"]; n != 0 {
		t.Fatalf("%d losses at the client", n)
	}
	if lost == 0 || lost+recorded != len(all) {
		t.Errorf("%d lost and %d recorded at the server, %d at the client", lost, recorded, len(all))
	}
	// And on it goes.
	p.Visits(t, 1, 10, false)
	if more := len(r.flushed("server")) - recorded; more < 7 {
		t.Errorf("%d events after the loss", more)
	}
}

// small gives the tap's socket as little room as the kernel allows.
func small(t *testing.T, tap *Tap) {
	t.Helper()
	tap.mu.Lock()
	defer tap.mu.Unlock()
	if err := unix.SetsockoptInt(tap.socket.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
		t.Fatal(err)
	}
}

// TestNothingLost makes connections as fast as it can.
func TestNothingLost(t *testing.T) {
	r := newRig(t, two()...)
	r.tap(t)
	const visits = 2000
	r.listen(t, netip.MustParseAddr("10.0.0.1")).Visits(t, visits, 10, false)
	for _, host := range []string{"server", "client"} {
		n := count(r.flushed(host))
		if n["loss"] != 0 || n["in SYN 0"]+n["out SYN 0"] != visits || n["in ACK,PSH 10"]+n["out ACK,PSH 10"] != visits {
			t.Errorf("%s: %v", host, n)
		}
	}
}

// TestClosed does nothing after Close.
func TestClosed(t *testing.T) {
	r := newRig(t, two()...)
	r.tap(t)
	for _, tap := range r.taps {
		tap.Close()
		tap.Close()
	}
	r.listen(t, netip.MustParseAddr("10.0.0.1")).Visits(t, 1, 10, false)
	if n := r.flushed("server"); len(n) > 0 {
		t.Errorf("%d events", len(n))
	}
}

// TestRefused has no interface of that number.
func TestRefused(t *testing.T) {
	netlabtest.Need(t)
	r := newRig(t, two()...)
	o, err := NewObserver()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	err = r.network.Host("server").Do(func() error {
		_, err := o.Open(Place{Host: "server", Interface: "eth7", Index: 777}, nil)
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "interface 777: no such device") {
		t.Errorf("error %v", err)
	}
}
