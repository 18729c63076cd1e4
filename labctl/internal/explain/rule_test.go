package explain

import (
	"fmt"
	"net/netip"
	"testing"
)

func yes() *bool { b := true; return &b }
func no() *bool  { b := false; return &b }

func uid(n uint32) *uint32 { return &n }

func TestOverlap(t *testing.T) {
	type end struct {
		addr   string
		v6only *bool
	}
	var (
		any4    = end{"0.0.0.0", nil}
		addr4   = end{"192.168.44.144", nil}
		other4  = end{"192.168.44.145", nil}
		any6    = end{"::", no()}
		only6   = end{"::", yes()}
		addr6   = end{"2001:db8:44::144", yes()} // bound to it: the kernel sets IPV6_V6ONLY
		child6  = end{"2001:db8:44::144", no()}  // accepted on ::
		loop6   = end{"::1", yes()}
		mapped  = end{"::ffff:192.168.44.144", no()}
		mapped0 = end{"::ffff:0.0.0.0", no()}
		odd6    = end{"::", nil} // IPV6_V6ONLY not known: does not excuse
		oddChld = end{"2001:db8:44::144", nil}
	)
	tests := []struct {
		new, old end
		want     bool
	}{
		{any4, any4, true}, {any4, addr4, true}, {addr4, any4, true}, {addr4, addr4, true}, {addr4, other4, false},
		{any4, any6, true}, {any4, only6, false}, {any4, odd6, true},
		{any4, addr6, false}, {any4, loop6, false}, {any4, child6, true}, {any4, oddChld, true},
		{addr4, child6, false}, {addr4, any6, true}, {addr4, only6, false},
		{any4, mapped, true}, {addr4, mapped, true}, {other4, mapped, false}, {other4, mapped0, true},
		{any6, any4, true}, {any6, addr4, true}, {only6, any4, false}, {only6, addr4, false}, {only6, mapped, false},
		{any6, any6, true}, {any6, only6, true}, {only6, any6, true}, {only6, only6, true},
		{any6, addr6, true}, {only6, addr6, true}, {any6, loop6, true}, {any6, mapped, true},
		{addr6, any6, true}, {addr6, only6, true}, {addr6, addr6, true}, {addr6, loop6, false},
		{addr6, any4, false}, {addr6, addr4, false}, {loop6, any4, false}, {addr6, mapped, false},
		{mapped, any4, true}, {mapped, addr4, true}, {mapped, other4, false}, {mapped, mapped, true},
		{mapped, any6, true}, {mapped, only6, false}, {mapped, child6, false}, {mapped0, child6, false}, {mapped0, any4, true},
	}
	for _, test := range tests {
		name := fmt.Sprintf("new %s %s, old %s %s", test.new.addr, tri(test.new.v6only), test.old.addr, tri(test.old.v6only))
		t.Run(name, func(t *testing.T) {
			got := overlap(socket{addr: netip.MustParseAddr(test.new.addr), v6only: test.new.v6only},
				socket{addr: netip.MustParseAddr(test.old.addr), v6only: test.old.v6only})
			if got != test.want {
				t.Errorf("overlap = %v, want %v", got, test.want)
			}
		})
	}
}

func tri(b *bool) string {
	switch {
	case b == nil:
		return "?"
	case *b:
		return "1"
	}
	return "0"
}

// TestConflicts goes through every pair of option sets, known and unknown, in
// every state, against the rule as its sentence says it.
func TestConflicts(t *testing.T) {
	states := []string{"BOUND", "LISTEN", "SYN_SENT", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2", "CLOSE_WAIT",
		"LAST_ACK", "CLOSING", "TIME_WAIT"}
	values := []*bool{nil, no(), yes()}
	users := map[string]*uint32{"same user": uid(1000), "another user": uid(1001), "unknown user": nil}
	any4 := netip.MustParseAddr("0.0.0.0")
	for _, state := range states {
		for _, aOld := range values {
			for _, aNew := range values {
				for _, pOld := range values {
					for _, pNew := range values {
						for user, u := range users {
							bothA := aOld != nil && *aOld && aNew != nil && *aNew
							bothP := pOld != nil && *pOld && pNew != nil && *pNew
							want := !(bothA && state != "LISTEN" || bothP && (user == "same user" || state == "TIME_WAIT"))
							got := conflicts(socket{addr: any4, reuseAddr: aNew, reusePort: pNew, uid: uid(1000)},
								socket{addr: any4, reuseAddr: aOld, reusePort: pOld, uid: u, state: state})
							if got != want {
								t.Errorf("%s, old A=%s P=%s, new A=%s P=%s, %s: conflict = %v, want %v",
									state, tri(aOld), tri(pOld), tri(aNew), tri(pNew), user, got, want)
							}
						}
					}
				}
			}
		}
	}
}

func TestConflictsDevice(t *testing.T) {
	for _, test := range []struct {
		new, old uint32
		want     bool
	}{{0, 0, true}, {1, 0, true}, {0, 1, true}, {1, 1, true}, {1, 2, false}} {
		any4 := netip.MustParseAddr("0.0.0.0")
		if got := conflicts(socket{addr: any4, device: test.new}, socket{addr: any4, device: test.old}); got != test.want {
			t.Errorf("new on device %d, old on %d: conflict = %v, want %v", test.new, test.old, got, test.want)
		}
	}
}
