package trace

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"restartlab/labctl/internal/journal"
)

// encode writes a record as observe.bpf.c does.
func encode(r record) []byte {
	b := make([]byte, recordLen)
	for i, v := range []uint64{uint64(r.time), r.net, r.cookie, r.object, uint64(r.left)} {
		binary.LittleEndian.PutUint64(b[8*i:], v)
	}
	family := uint16(2)
	if r.local.Addr().Is6() {
		family = 10
	}
	binary.LittleEndian.PutUint16(b[40:], family)
	binary.LittleEndian.PutUint16(b[42:], r.local.Port())
	binary.LittleEndian.PutUint16(b[44:], r.remote.Port())
	b[46], b[47], b[48], b[49] = byte(r.kind), r.from, r.to, r.reason
	copy(b[56:72], r.local.Addr().AsSlice())
	copy(b[72:88], r.remote.Addr().AsSlice())
	return b
}

func TestDecode(t *testing.T) {
	for name, want := range map[string]record{
		"IPv4": {time: 1, net: 2, cookie: 3, object: 0xffff888000000000, left: -4, kind: stateChanged, from: synSent, to: established,
			local: netip.MustParseAddrPort("192.168.44.145:40112"), remote: netip.MustParseAddrPort("192.168.44.144:12500")},
		"IPv6": {kind: waitStarted, from: timeWait, to: timeWait, left: 15360,
			local: netip.MustParseAddrPort("[2001:db8:44::144]:12500"), remote: netip.MustParseAddrPort("[2001:db8:44::145]:40112")},
		"mapped": {kind: stateChanged, from: established, to: finWait1,
			local: netip.MustParseAddrPort("[::ffff:192.168.44.144]:12500"), remote: netip.MustParseAddrPort("[::ffff:192.168.44.145]:40112")},
		"listener": {kind: stateChanged, from: closed, to: listening, local: netip.MustParseAddrPort("0.0.0.0:12500")},
		"a listener's RST": {kind: resetSent, cookie: 7, from: listening, to: listening, reason: 3,
			local: netip.MustParseAddrPort("192.168.44.144:12500"), remote: netip.MustParseAddrPort("192.168.44.145:1")},
		"nobody's RST": {kind: resetSent, reason: 1,
			local: netip.MustParseAddrPort("[2001:db8:44::144]:12500"), remote: netip.MustParseAddrPort("[2001:db8:44::145]:1")},
		"request socket": {kind: requestExpired, local: netip.MustParseAddrPort("192.168.44.144:12500"), remote: netip.MustParseAddrPort("192.168.44.145:1")},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decode(encode(want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(record{}), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	good := encode(record{kind: stateChanged, from: closed, to: synSent, local: netip.MustParseAddrPort("1.2.3.4:5")})
	change := func(at int, to byte) []byte {
		b := bytes.Clone(good)
		b[at] = to
		return b
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "short": good[:87], "long": append(bytes.Clone(good), 0),
		"family": change(40, 7), "kind 0": change(46, 0), "kind 11": change(46, 11), "from": change(47, 13), "to": change(48, 255), "no change": change(48, closed), "a minisocket that listens": change(46, byte(waitStarted)),
	} {
		if r, err := decode(b); err == nil {
			t.Errorf("%s: decoded as %+v", name, r)
		}
	}
}

// TestReset makes events of both kinds of reset.
func TestReset(t *testing.T) {
	server, client := netip.MustParseAddrPort("192.168.44.144:12500"), netip.MustParseAddrPort("192.168.44.145:40112")
	reasons := map[uint8]string{1: "NO_SOCKET"}
	for name, c := range map[string]struct {
		of   record
		want journal.Reset
	}{
		"from a closed port": {record{kind: resetSent, reason: 1, local: server, remote: client},
			journal.Reset{Sent: true, Local: server, Remote: client, Reason: "NO_SOCKET"}},
		"a reason of a newer kernel": {record{kind: resetSent, reason: 200, cookie: 7, from: closed, to: closed, local: server, remote: client},
			journal.Reset{Sent: true, Cookie: 7, State: "CLOSE", Local: server, Remote: client}},
		"taken": {record{kind: resetReceived, cookie: 9, from: synSent, to: synSent, local: client, remote: server},
			journal.Reset{Cookie: 9, State: "SYN_SENT", Local: client, Remote: server}},
	} {
		c.of.time = 5
		want := journal.Event{T: 5, Kind: journal.KindReset, Reset: &c.want}
		if diff := cmp.Diff(want, c.of.reset(reasons), cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestLayout compares what the decoders assume with what the compiler made of the
// structures, as the object's BTF tells.
func TestLayout(t *testing.T) {
	spec, err := loadObserve()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		size   int
		fields map[string]int
	}{
		"record": {recordLen, map[string]int{"time": 0, "net": 8, "cookie": 16, "object": 24, "left": 32, "family": 40, "local_port": 42,
			"remote_port": 44, "kind": 46, "from": 47, "to": 48, "reason": 49, "unused": 50, "local": 56, "remote": 72}},
		"binding": {bindingLen, map[string]int{"cookie": 0, "uid": 8, "reuse": 12, "reuseport": 13, "fastreuse": 14,
			"fastreuseport": 15, "has_bucket": 16, "unused": 17}},
		"handler": {handlerLen, map[string]int{"state": 0, "function": 8}},
	} {
		var r *btf.Struct
		if err := spec.Types.TypeByName(name, &r); err != nil {
			t.Fatal(err)
		}
		if int(r.Size) != want.size {
			t.Errorf("a %s has %d bytes, want %d", name, r.Size, want.size)
		}
		got := map[string]int{}
		for _, m := range r.Members {
			got[m.Name] = int(m.Offset.Bytes())
		}
		if diff := cmp.Diff(want.fields, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// FuzzDecode feeds records of any bytes to the decoder and what it accepts to a
// tracker.
func FuzzDecode(f *testing.F) {
	var life []byte
	for _, r := range closedFirst() {
		life = append(life, encode(r)...)
	}
	f.Add(life)
	f.Add(life[recordLen:])
	f.Add([]byte("no record"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k := newTracker(4_000_000, len(b)%2 == 0)
		told, taken := 0, 0
		for ; len(b) > 0; b = b[min(len(b), recordLen):] {
			r, err := decode(b[:min(len(b), recordLen)])
			if err != nil {
				continue
			}
			taken++
			now := k.add(r)
			told += len(now)
			for _, s := range now {
				if s.From == s.To || s.From == "none" || s.To == "" {
					t.Fatalf("told %+v", s)
				}
			}
			k.unsettled()
		}
		told += len(k.settle(nil, 1<<62))
		// Of one record at most its own change, a handshake's, and the end
		// of what was there before come to light.
		if told > 4*taken {
			t.Fatalf("%d transitions of %d records", told, taken)
		}
	})
}
