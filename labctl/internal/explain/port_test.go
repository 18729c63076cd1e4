package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"restartlab/labctl/internal/journal"
)

// occ is an occupant: "TIME_WAIT 10.0.0.1:80", the options A and P as 1, 0 or ?.
func occ(state, local, options string, uid uint32, owners ...Owner) Occupant {
	value := func(c byte) *bool {
		switch c {
		case '1':
			return yes()
		case '0':
			return no()
		}
		return nil
	}
	o := Occupant{Options: Known{ReuseAddr: value(options[0]), ReusePort: value(options[1])}, Owners: owners}
	o.Socket = journal.Socket{State: state, Local: netip.MustParseAddrPort(local), UID: uid}
	if len(owners) > 0 || state == "LISTEN" {
		o.Socket.Inode = 7
	}
	if state == "TIME_WAIT" {
		left := int64(41_200)
		o.Socket.Timer, o.Socket.TimeLeft = "timewait", &left
	}
	return o
}

// TestJudge wants for each set of occupants the results for 0.0.0.0 and for [::],
// each without an option, with SO_REUSEADDR and with SO_REUSEPORT.
func TestJudge(t *testing.T) {
	nginx := Owner{PID: 812, Command: "nginx", User: "root", Unit: "nginx.service"}
	child := Owner{PID: 900, Command: "worker", User: "root"}
	docked := Owner{PID: 77, Command: "redis", Engine: "docker", Container: strings.Repeat("ab", 32)}
	const use = "EADDRINUSE"
	for _, test := range []struct {
		name   string
		port   Port
		want   string
		advice []string // parts of it
	}{
		{name: "nothing", want: "ok ok ok ok ok ok"},
		{name: "a listener", port: Port{Occupants: []Occupant{occ("LISTEN", "0.0.0.0:80", "10", 0, nginx)}},
			want: "EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE", advice: []string{"systemctl stop nginx.service"}},
		{name: "a listener in two processes", port: Port{Occupants: []Occupant{occ("LISTEN", "0.0.0.0:80", "10", 0, child, child)}},
			want: "EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE", advice: []string{"each has the socket open", "kill 900 900"}},
		{name: "a listener in a container", port: Port{Occupants: []Occupant{occ("LISTEN", "127.0.0.1:80", "00", 0, docked)}},
			want: "EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE", advice: []string{"docker stop abababababab"}},
		{name: "a listener nobody may see", port: Port{UID: 1000, Occupants: []Occupant{occ("LISTEN", "127.0.0.1:80", "??", 33)}},
			want: "EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE", advice: []string{"root can see which"}},
		{name: "one's own SO_REUSEPORT", port: Port{UID: 5, Occupants: []Occupant{occ("LISTEN", "0.0.0.0:80", "01", 5, child)}},
			want: "EADDRINUSE EADDRINUSE ok EADDRINUSE EADDRINUSE ok", advice: []string{"kill 900", "set SO_REUSEPORT"}},
		{name: "another's SO_REUSEPORT", port: Port{UID: 5, Occupants: []Occupant{occ("LISTEN", "0.0.0.0:80", "01", 6, child)}},
			want: "EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE"},
		{name: "TIME_WAIT without options", port: Port{Occupants: []Occupant{occ("TIME_WAIT", "10.0.0.1:80", "00", 0)}},
			want: "EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE", advice: []string{"wait 42 s", "for the next restart"}},
		{name: "TIME_WAIT with SO_REUSEADDR", port: Port{Occupants: []Occupant{occ("TIME_WAIT", "10.0.0.1:80", "10", 0)}},
			want: "EADDRINUSE ok EADDRINUSE EADDRINUSE ok EADDRINUSE", advice: []string{"wait 42 s", "the old sockets have it"}},
		{name: "TIME_WAIT not known", port: Port{Occupants: []Occupant{occ("TIME_WAIT", "10.0.0.1:80", "??", 0)}},
			want: "EADDRINUSE unknown unknown EADDRINUSE unknown unknown", advice: []string{"cannot be seen here"}},
		{name: "an IPv6 listener of IPv6 alone", port: Port{Occupants: []Occupant{func() Occupant {
			o := occ("LISTEN", "[::]:80", "00", 0, nginx)
			o.Options.V6Only = yes()
			return o
		}()}}, want: "ok ok ok EADDRINUSE EADDRINUSE EADDRINUSE"},
		{name: "a handshake", port: Port{Occupants: []Occupant{occ("SYN_RECV", "10.0.0.1:80", "??", 0)}}, want: "ok ok ok ok ok ok"},
		{name: "an orphan", port: Port{Occupants: []Occupant{occ("FIN_WAIT1", "10.0.0.1:80", "00", 0)}},
			want: "EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE EADDRINUSE", advice: []string{"ss -K"}},
		{name: "another address", port: Port{Address: netip.MustParseAddr("10.0.0.2"),
			Occupants: []Occupant{occ("LISTEN", "10.0.0.1:80", "00", 0, nginx)}}, want: "ok ok ok"},
		{name: "a privileged port", port: Port{Denied: true, Occupants: []Occupant{occ("LISTEN", "0.0.0.0:80", "10", 0, nginx)}},
			want: "EACCES EACCES EACCES EACCES EACCES EACCES", advice: []string{"CAP_NET_BIND_SERVICE"}},
		{name: "a foreign address", port: Port{Foreign: true, Address: netip.MustParseAddr("10.9.9.9")},
			want: "EADDRNOTAVAIL EADDRNOTAVAIL EADDRNOTAVAIL", advice: []string{"10.9.9.9"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.port.Number, test.port.Protocol, test.port.IPv6 = 80, "tcp", true
			a := test.port.Judge()
			var got []string
			for _, b := range a.Binds {
				got = append(got, b.Result)
				if (b.Result == use || b.Result == "unknown") != (len(b.Holders) > 0) {
					t.Errorf("%s %s: %s, holders %v", b.Address, b.Option, b.Result, b.Holders)
				}
			}
			if s := strings.Join(got, " "); s != test.want {
				t.Errorf("results\n%s, want\n%s", s, test.want)
			}
			free := !slices.ContainsFunc(a.Binds, func(b Attempt) bool { return b.Option == "" && b.Result != "ok" })
			if a.Free != free || a.Free == (len(a.Advice) > 0) {
				t.Errorf("free %v, advice %q", a.Free, a.Advice)
			}
			for _, part := range test.advice {
				if !strings.Contains(strings.Join(a.Advice, "\n"), part) {
					t.Errorf("the advice lacks %q: %q", part, a.Advice)
				}
			}
		})
	}
}

// TestAgainstIsTheRule tries every known combination: with all known Against is
// the rule itself, with something unknown May only where it decides.
func TestAgainstIsTheRule(t *testing.T) {
	values := []*bool{nil, no(), yes()}
	addresses := []string{"0.0.0.0:80", "10.0.0.1:80", "[::]:80", "[::1]:80"}
	for _, state := range []string{"LISTEN", "TIME_WAIT", "ESTABLISHED"} {
		for _, at := range addresses {
			for _, to := range addresses {
				for _, a := range values {
					for _, p := range values {
						for _, only := range values {
							for n := range 8 {
								b := Bind{Address: netip.MustParseAddrPort(to), ReuseAddr: n&1 != 0, ReusePort: n&2 != 0, V6Only: n&4 != 0}
								row := journal.Socket{State: state, Local: netip.MustParseAddrPort(at)}
								got := b.Against(row, Known{a, p, only})
								seen := map[bool]bool{}
								for _, a := range both(a) {
									for _, p := range both(p) {
										for _, only := range both(only) {
											seen[conflicts(socket{addr: b.Address.Addr(), reuseAddr: &b.ReuseAddr, reusePort: &b.ReusePort, v6only: &b.V6Only, uid: uid(0)},
												socket{addr: row.Local.Addr(), reuseAddr: &a, reusePort: &p, v6only: &only, uid: uid(0), state: state})] = true
										}
									}
								}
								want := Never
								if seen[true] {
									want = Always
								}
								if len(seen) == 2 {
									want = May
								}
								if got != want {
									t.Fatal(fmt.Sprint(b, row.State, at, tri(a), tri(p), tri(only), got, want))
								}
							}
						}
					}
				}
			}
		}
	}
}
