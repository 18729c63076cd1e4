package capture

import (
	"encoding/base64"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

// Frames as a lab's eth0 had them.
const (
	syn4   = "AgAAAAABAgAAAAACCABFAAA8U4BAAEAGDMrAqCyRwKgskISoMNQA69nuAAAAAKAC+vAv9QAAAgQFtAQCCApYvlmQAAAAAAEDAwo="
	synAck = "AgAAAAACAgAAAAABCABFAAA8AABAAEAGYErAqCyQwKgskTDUhKhfkSutAOvZ76AS/ojlCgAAAgQFtAQCCArnp9RaWL5ZkAEDAwo="
	ack4   = "AgAAAAABAgAAAAACCABFAAA0U4FAAEAGDNHAqCyRwKgskISoMNQA69nvX5ErroAQAD8SJAAAAQEICli+WZDnp9Ra"
	syn6   = "AgAAAAABAgAAAAACht1gAz/gACgGQCABDbgARAAAAAAAAAAAAUUgAQ24AEQAAAAAAAAAAAFEv1ww1O6d9zgAAAAAoAL9ICIOAAACBAWgBAIICv+J9M0AAAAAAQMDCg=="
)

func frame(t testing.TB, text string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	server4 = netip.MustParseAddrPort("192.168.44.144:12500")
	client4 = netip.MustParseAddrPort("192.168.44.145:33960")
	server6 = netip.MustParseAddrPort("[2001:db8:44::144]:12500")
	client6 = netip.MustParseAddrPort("[2001:db8:44::145]:48988")
)

func TestDecode(t *testing.T) {
	for _, test := range []struct {
		name, frame string
		want        journal.Segment
	}{
		{"SYN", syn4, journal.Segment{From: client4, To: server4, Flags: []string{"SYN"}, Seq: 15456750, Window: 64240,
			Options: []string{"mss 1460", "sackOK", "ts 1488869776 0", "wscale 10"}}},
		{"SYN ACK", synAck, journal.Segment{From: server4, To: client4, Flags: []string{"SYN", "ACK"}, Seq: 1603349421, Ack: 15456751, Window: 65160,
			Options: []string{"mss 1460", "sackOK", "ts 3886535770 1488869776", "wscale 10"}}},
		{"ACK", ack4, journal.Segment{From: client4, To: server4, Flags: []string{"ACK"}, Seq: 15456751, Ack: 1603349422, Window: 63,
			Options: []string{"ts 1488869776 3886535770"}}},
		{"IPv6", syn6, journal.Segment{From: client6, To: server6, Flags: []string{"SYN"}, Seq: 4003329848, Window: 64800,
			Options: []string{"mss 1440", "sackOK", "ts 4287231181 0", "wscale 10"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := Decode(frame(t, test.frame))
			if !ok {
				t.Fatal("not taken for a segment")
			}
			if d := cmp.Diff(test.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestDecodeChanged changes bytes of the SYN: offsets are those of the frame, in
// which IPv4 begins at 14 and TCP at 34.
func TestDecodeChanged(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(b []byte) []byte
		ok     bool
		check  func(journal.Segment) bool
	}{
		{"cut behind its headers", func(b []byte) []byte { b[17] = 100; return b[:74] }, true, func(s journal.Segment) bool { return s.Length == 40 }},
		{"padded to the shortest frame", func(b []byte) []byte { return append(b, 0, 0) }, true, func(s journal.Segment) bool { return s.Length == 0 }},
		{"all flags", func(b []byte) []byte { b[47] = 0xff; return b }, true, func(s journal.Segment) bool {
			return slices.Equal(s.Flags, []string{"SYN", "ACK", "FIN", "RST", "PSH", "URG", "ECE", "CWR"})
		}},
		{"no flags", func(b []byte) []byte { b[47] = 0; return b }, true, func(s journal.Segment) bool { return s.Flags != nil && len(s.Flags) == 0 }},
		{"an unknown option", func(b []byte) []byte { b[54] = 77; return b }, true, func(s journal.Segment) bool { return s.Options[0] == "option 77 05b4" }},
		{"an option too long", func(b []byte) []byte { b[55] = 200; return b }, true, func(s journal.Segment) bool {
			return slices.Equal(s.Options, []string{"option 2 cut short"})
		}},
		{"an option of no length", func(b []byte) []byte { b[55] = 0; return b }, true, func(s journal.Segment) bool { return len(s.Options) == 1 }},
		{"options ended at once", func(b []byte) []byte { b[54] = 0; return b }, true, func(s journal.Segment) bool { return s.Options == nil }},
		{"sack", func(b []byte) []byte { copy(b[54:], []byte{1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9, 0}); return b }, true,
			func(s journal.Segment) bool { return slices.Equal(s.Options, []string{"sack 1-9"}) }},
		{"UDP", func(b []byte) []byte { b[23] = 17; return b }, false, nil},
		{"ARP", func(b []byte) []byte { b[13] = 6; return b }, false, nil},
		{"IP version 5", func(b []byte) []byte { b[14] = 0x55; return b }, false, nil},
		{"an IP header too short", func(b []byte) []byte { b[14] = 0x44; return b }, false, nil},
		{"a fragment", func(b []byte) []byte { b[21] = 1; return b }, false, nil},
		{"the first fragment", func(b []byte) []byte { b[20] = 0x20; return b }, false, nil},
		{"a TCP header too short", func(b []byte) []byte { b[46] = 0x40; return b }, false, nil},
		{"a TCP header longer than the frame", func(b []byte) []byte { b[46] = 0xf0; return b }, false, nil},
		{"an IP length shorter than its headers", func(b []byte) []byte { b[17] = 30; return b }, false, nil},
		{"nothing", func([]byte) []byte { return nil }, false, nil},
		{"Ethernet alone", func(b []byte) []byte { return b[:14] }, false, nil},
		{"half of TCP", func(b []byte) []byte { return b[:50] }, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, ok := Decode(test.change(frame(t, syn4)))
			if ok != test.ok || ok && !test.check(s) {
				t.Errorf("%v %+v", ok, s)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, text := range []string{syn4, synAck, ack4, syn6} {
		f.Add(frame(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := Decode(b)
		if ok && (s.Length < 0 || s.Flags == nil || !s.From.IsValid() || !s.To.IsValid()) {
			t.Errorf("%+v", s)
		}
	})
}
