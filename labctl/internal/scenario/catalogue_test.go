package scenario_test

import (
	"slices"
	"testing"

	"restartlab/labctl/internal/scenario"
	"restartlab/scenarios"
)

// catalogue is what is known to matter when a server restarts, by number: the
// scenario that asks for it, the cell of its matrix if it has one, and what its
// steps expect. A result is that of the call, or of the bind that a start makes.
var catalogue = []struct {
	n              int
	what           string
	scenario, cell string
	expects        []string
}{
	{1, "the server closes first, without SO_REUSEADDR", "both-runs", "none none", []string{"start again: EADDRINUSE TIME_WAIT"}},
	{2, "the same, SO_REUSEADDR in both runs", "both-runs", "A A", []string{"start again: ok"}},
	{3, "SO_REUSEADDR in the second run alone", "both-runs", "none A", []string{"start again: EADDRINUSE TIME_WAIT"}},
	{4, "SO_REUSEADDR in the first run alone", "both-runs", "A none", []string{"start again: EADDRINUSE TIME_WAIT"}},
	{5, "SO_REUSEADDR on the accepted socket alone", "reuseaddr-inherited", "on-the-connection", []string{"bind new: ok"}},
	{6, "SO_REUSEADDR on the listener after the handshake", "reuseaddr-inherited", "before-accept", []string{"bind new: EADDRINUSE TIME_WAIT"}},
	{7, "refused, then set on the same descriptor", "set-and-bind-again", "", []string{"bind new: EADDRINUSE TIME_WAIT", "bind new 2: ok"}},
	{8, "the client closes first", "client-closes-first", "", []string{"start app 2: ok"}},
	{9, "SIGKILL with a live client, without SO_REUSEADDR", "killed-with-a-live-client", "none", []string{"start app 2: EADDRINUSE FIN_WAIT2"}},
	{9, "SIGKILL with a live client, with SO_REUSEADDR", "killed-with-a-live-client", "A", []string{"start app 2: ok"}},
	{10, "SIGKILL with unread data", "killed-with-unread-data", "", []string{"recv call: ECONNRESET", "bind new: ok"}},
	{11, "SO_LINGER 0", "linger-zero", "", []string{"recv call: ECONNRESET", "bind new: ok"}},
	{12, "the client never closes, fin_timeout 2", "fin-timeout", "", []string{"start app 2: EADDRINUSE FIN_WAIT2", "start app 3: ok"}},
	{13, "a client with a closed window", "zero-window", "", []string{"bind plain: EADDRINUSE FIN_WAIT1", "bind reuse: ok"}},
	{14, "an orphan in LAST_ACK, without SO_REUSEADDR", "orphans", "LAST_ACK none", []string{"bind new: EADDRINUSE LAST_ACK"}},
	{14, "an orphan in LAST_ACK, with SO_REUSEADDR", "orphans", "LAST_ACK A", []string{"bind new: ok"}},
	{15, "an orphan in CLOSING, without SO_REUSEADDR", "orphans", "CLOSING none", []string{"bind new: EADDRINUSE CLOSING"}},
	{15, "an orphan in CLOSING, with SO_REUSEADDR", "orphans", "CLOSING A", []string{"bind new: ok"}},
	{16, "the old one still listens, SO_REUSEADDR in both", "options-by-state", "LISTEN A A", []string{"bind new: EADDRINUSE LISTEN"}},
	{17, "bind, bind, listen, listen with SO_REUSEADDR", "listen-race", "", []string{"bind two: ok", "listen one: ok", "listen two: EADDRINUSE LISTEN"}},
	{18, "a listener leaked to a child", "leaked-listener", "", []string{"bind new: EADDRINUSE LISTEN"}},
	{19, "shutdown of the listener, its descriptor open", "shutdown-listener", "A", []string{"bind new 2: ok"}},
	{20, "TIME_WAIT from a listener on 0.0.0.0, another address", "time-wait-and-addresses", "wildcard other", []string{"start again: ok"}},
	{21, "old on an address, new on 0.0.0.0", "time-wait-and-addresses", "specific wildcard", []string{"start again: EADDRINUSE TIME_WAIT"}},
	{22, "dual-stack to IPv4, TIME_WAIT on IPv6", "dual-stack", "", []string{"bind all: EADDRINUSE TIME_WAIT", "bind local: ok"}},
	{23, "IPV6_V6ONLY and an IPv4 server", "v6only", "true", []string{"listen six: ok", "bind four: ok", "listen four: ok"}},
	{24, "the host's own connection has the port", "own-client", "ESTABLISHED", []string{"bind new: EADDRINUSE ESTABLISHED"}},
	{25, "its TIME_WAIT has", "own-client", "TIME_WAIT", []string{"bind new: EADDRINUSE TIME_WAIT"}},
	{26, "a connection to itself in the ephemeral range", "self-connect", "", []string{"connect call: ok", "bind new: EADDRINUSE ESTABLISHED"}},
	{27, "port 0 exhausted", "port-zero", "A 0", []string{"bind third: EADDRINUSE"}},
	{27, "port 0 exhausted, ip_autobind_reuse 1", "port-zero", "A 1", []string{"bind third: ok"}},
	{28, "SO_REUSEPORT in both, the same user", "reuseport-by-user", "LISTEN P P same", []string{"bind new: ok"}},
	{29, "SO_REUSEPORT in both, another user", "reuseport-by-user", "LISTEN P P other", []string{"bind new: EADDRINUSE LISTEN"}},
	{29, "SO_REUSEPORT in both, another user, TIME_WAIT", "reuseport-by-user", "TIME_WAIT P P other", []string{"bind new: ok"}},
	{30, "SO_REUSEPORT in the new one alone", "reuseport-by-user", "LISTEN none P same", []string{"bind new: EADDRINUSE LISTEN"}},
	{31, "the old of two listeners closes", "hand-over", "0", []string{"recv calls: ECONNRESET"}},
	{32, "the same, tcp_migrate_req 1", "hand-over", "1", []string{"accept new: ok", "recv calls: ok"}},
	{33, "the listener passed on with SCM_RIGHTS", "pass-listener", "", []string{"accept inherited: ok", "recv calls: ok"}},
	{34, "the listener inherited", "inherited-listener", "", []string{"connect late: ok", "accept inherited: ok", "recv late: ok"}},
	{35, "socket activation", "socket-activation", "", []string{"connect calls: ok", "accept agains: ok", "recv calls: ok"}},
	{36, "stop, then start", "refused-window", "", []string{"connect during: ECONNREFUSED", "connect after: ok"}},
	{37, "a graceful stop, without SO_REUSEADDR", "graceful-stop", "none", []string{"bind new: EADDRINUSE ESTABLISHED", "recv call: ok"}},
	{37, "a graceful stop, with SO_REUSEADDR", "graceful-stop", "A", []string{"bind new: ok", "connect next: ok", "recv call: ok"}},
	{38, "the same four numbers again, into TIME_WAIT", "same-four", "", []string{"connect second: ok"}},
	{39, "the client's TIME_WAIT, the same port bound again", "client-port", "none", []string{"bind second: EADDRINUSE TIME_WAIT"}},
	{39, "the same with SO_REUSEADDR", "client-port", "A", []string{"bind second: ok", "connect second: ok"}},
	{40, "tcp_tw_reuse 0", "tw-reuse", "0", []string{"connect second: EADDRNOTAVAIL"}},
	{40, "tcp_tw_reuse 1", "tw-reuse", "1", []string{"connect second: ok"}},
	{40, "tcp_tw_reuse 2, not on loopback", "tw-reuse", "2", []string{"connect second: EADDRNOTAVAIL"}},
	{41, "a reset into TIME_WAIT", "assassinated", "0", []string{"bind new: ok"}},
	{41, "a reset into TIME_WAIT, tcp_rfc1337 1", "assassinated", "1", []string{"bind new: EADDRINUSE TIME_WAIT"}},
	{42, "SOCK_DESTROY of a TIME_WAIT", "destroyed", "", []string{"bind plain: EADDRINUSE TIME_WAIT", "destroy old: ok", "bind plain 2: ok"}},
	{43, "SO_BINDTODEVICE, the same device", "bound-to-device", "same", []string{"bind new: EADDRINUSE LISTEN"}},
	{43, "SO_BINDTODEVICE and none", "bound-to-device", "none", []string{"bind new: EADDRINUSE LISTEN"}},
	{43, "SO_BINDTODEVICE, another device", "bound-to-device", "other", []string{"bind new: ok", "listen new: ok"}},
	{44, "an address that is not there", "address-not-there", "none", []string{"bind new: EADDRNOTAVAIL"}},
	{44, "IP_FREEBIND", "address-not-there", "freebind", []string{"bind new: ok"}},
	{45, "a low port without privilege", "low-port", "1024", []string{"bind new: EACCES"}},
	{45, "ip_unprivileged_port_start 0", "low-port", "0", []string{"bind new: ok"}},
	{46, "UDP with SO_REUSEADDR", "udp", "A", []string{"bind second: ok", "recv second: ok", "recv first: EAGAIN"}},
}

// catalogued is how many numbers the catalogue has.
const catalogued = 46

// TestCatalogue checks that each entry is asked, and that what is expected of the
// kernel is the catalogue's. That the kernel agrees, the shipped scenarios show
// when they are played.
func TestCatalogue(t *testing.T) {
	there := map[int]bool{}
	for _, c := range catalogue {
		there[c.n] = true
		data, err := scenarios.Files.ReadFile(scenarios.Path(c.scenario))
		if err != nil {
			t.Errorf("%d: %s: %v", c.n, c.scenario, err)
			continue
		}
		s, err := scenario.Load(c.scenario, data, scenario.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(s.Labs, func(l scenario.Lab) bool { return l.Name == c.cell || c.cell == "" && len(s.Axes) == 0 })
		if i < 0 {
			t.Errorf("%d: %s has no cell %q", c.n, c.scenario, c.cell)
			continue
		}
		for _, want := range c.expects {
			if !slices.ContainsFunc(s.Labs[i].Steps, func(step scenario.Step) bool { return want == step.ID+": "+expected(step) }) {
				t.Errorf("%d, %s: no step of %s %s expects %q", c.n, c.what, c.scenario, c.cell, want)
			}
		}
	}
	for n := range catalogued {
		if !there[n+1] {
			t.Errorf("nothing asks for entry %d", n+1)
		}
	}
}

// expected is what a step expects of its call, and the states of the holders.
func expected(s scenario.Step) string {
	e := s.Expect
	if e == nil {
		return "ok"
	}
	outcome := "ok"
	for _, o := range []string{e.Result, e.Bind} {
		if o != "" {
			outcome = o
		}
	}
	for _, state := range scenario.Holdable {
		if n := e.Holders[state]; n != nil && n.Holds(1) {
			outcome += " " + state
		}
	}
	return outcome
}
