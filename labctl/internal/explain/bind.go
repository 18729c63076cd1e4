package explain

import (
	"net/netip"

	"restartlab/labctl/internal/journal"
)

// Bind is a bind that nobody has made yet.
type Bind struct {
	Address   netip.AddrPort
	ReuseAddr bool
	ReusePort bool
	V6Only    bool   // of an IPv6 address
	UID       uint32 // of the process that would make it
}

// Known is what is known of an old socket's options; nil is not known.
type Known struct {
	ReuseAddr *bool `json:"reuseaddr,omitempty"`
	ReusePort *bool `json:"reuseport,omitempty"`
	V6Only    *bool `json:"v6only,omitempty"`
}

// Conflict says whether a socket would keep a bind from its port.
type Conflict int

// The answers. May is that of an option which nobody can see.
const (
	Never Conflict = iota
	May
	Always
)

// Against answers by the rule that explanations sort their holders by. What is
// not known of the old socket is tried both ways: where the answers differ it is
// May.
func (b Bind) Against(row journal.Socket, k Known) Conflict {
	if row.Local.Port() != b.Address.Port() || !ownsPort(row) {
		return Never
	}
	mine := socket{addr: b.Address.Addr(), reuseAddr: &b.ReuseAddr, reusePort: &b.ReusePort, v6only: &b.V6Only, uid: &b.UID}
	yes, no := 0, 0
	for _, a := range both(k.ReuseAddr) {
		for _, p := range both(k.ReusePort) {
			for _, only := range both(k.V6Only) {
				h := Holder{Socket: row, ReuseAddr: &a, ReusePort: &p, V6Only: &only}
				if conflicts(mine, h.socket()) {
					yes++
				} else {
					no++
				}
			}
		}
	}
	switch {
	case yes == 0:
		return Never
	case no == 0:
		return Always
	}
	return May
}

// both are the values that an option may have.
func both(o *bool) []bool {
	if o != nil {
		return []bool{*o}
	}
	return []bool{false, true}
}
