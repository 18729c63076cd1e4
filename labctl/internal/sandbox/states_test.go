package sandbox_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/trace"
	"restartlab/scenarios"
)

// needTrace skips the test where the kernel does not tell of state changes.
func needTrace(t testing.TB) {
	t.Helper()
	need(t)
	tracer, err := trace.Open(0)
	unavailable := (*trace.Unavailable)(nil)
	switch {
	case errors.As(err, &unavailable):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
}

// states are the transitions of a run, in the order of time.
func states(t testing.TB, events []journal.Event) (list []journal.Event) {
	t.Helper()
	for _, e := range events {
		if e.Loss != nil {
			t.Errorf("%d transitions were lost", e.Loss.Count)
		}
		if e.State != nil {
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b journal.Event) int { return int(a.T - b.T) })
	return list
}

// lives are the sequences of a run's sockets: "HOST: CLOSE LISTEN CLOSE", sorted.
// It also checks that each goes on where it was, between the same ends.
func lives(t testing.TB, events []journal.Event) []string {
	t.Helper()
	type key struct {
		host   string
		cookie uint64
	}
	type life struct {
		text, state   string
		local, remote netip.AddrPort
	}
	all := map[key]*life{}
	for _, e := range states(t, events) {
		s := e.State
		l := all[key{e.Host, s.Cookie}]
		if l == nil {
			l = &life{e.Host + ": " + s.From, s.From, s.Local, s.Remote}
			all[key{e.Host, s.Cookie}] = l
		}
		if s.From != l.state || s.Local != l.local || s.Remote != l.remote || s.Source != journal.SourceKernel || s.Cookie == 0 {
			t.Errorf("after %+v comes %+v", l, s)
		}
		if s.To == "TIME_WAIT" {
			// 60 s, and the wheel's rounding up: to 66 s with HZ=100.
			if left := time.Duration(s.Due - e.T); s.Due != 0 && (left < 59*time.Second || left > 67*time.Second) {
				t.Errorf("a TIME_WAIT of %v", left)
			}
		}
		l.state = s.To
		l.text += " " + strings.TrimSpace(s.To+" "+s.Why)
	}
	var list []string
	for _, l := range all {
		list = append(list, l.text)
	}
	slices.Sort(list)
	return list
}

// What RFC 9293 says of each kind of socket.
const (
	listener    = "CLOSE LISTEN CLOSE"
	asked       = "CLOSE SYN_SENT ESTABLISHED"
	accepted    = "LISTEN SYN_RECV ESTABLISHED"
	closesFirst = " FIN_WAIT1 FIN_WAIT2 TIME_WAIT"
	closesLast  = " CLOSE_WAIT LAST_ACK CLOSE"
)

func shipped(t testing.TB, name string) string {
	t.Helper()
	text, err := scenarios.Files.ReadFile(name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestStates(t *testing.T) {
	needTrace(t)
	programs := func(server, client string) string {
		return "name: s\nprograms: {app: {host: server, server: {" + server + "}}, visitor: {host: client, client: {address: server" + client + "}}}\n"
	}
	const hold = ", hold: true"
	cases := map[string]struct {
		text string
		want []string
	}{
		"listening": {shipped(t, "listening"), []string{"server: " + listener, "server: " + listener}},
		"reuseaddr": {shipped(t, "reuseaddr"), []string{
			"client: " + asked + closesLast, "server: " + listener, "server: " + listener, "server: " + accepted + closesFirst}},
		"reuseaddr-too-late": {shipped(t, "reuseaddr-too-late"), []string{
			"client: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst}},
		"client-closes-first": {shipped(t, "client-closes-first"), []string{
			"client: " + asked + closesFirst, "server: " + listener, "server: " + listener, "server: " + accepted + closesLast}},
		"surviving-child": {shipped(t, "surviving-child"), []string{
			"client: " + asked + closesFirst, "server: " + listener, "server: " + listener, "server: " + accepted + closesLast}},
		"one-host": {shipped(t, "one-host"), []string{
			"server: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst}},
		"idle-restart": {shipped(t, "idle-restart"), nil},
		// The kernel lets an orphan in FIN_WAIT2 be a minisocket at once, and
		// moves its timer to no other bucket when the FIN comes.
		"FIN_WAIT2 without a process": {programs("serve: hold", hold) + `
steps:
  - start: app
  - start: visitor
  - wait: {host: server, until: {states: {LISTEN: 1, ESTABLISHED: 1}, queued: 0}}
  - {stop: {program: app, signal: SIGKILL}}
  - wait: {host: server, until: {states: {FIN_WAIT2: 1}}}
  - stop: visitor
  - wait: {host: server, until: {states: {TIME_WAIT: 1}}}
`, []string{"client: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst}},
		"FIN_WAIT2 runs out": {programs("serve: hold", hold) + `
steps:
  - {sysctl: {host: server, values: {net.ipv4.tcp_fin_timeout: 1}}}
  - start: app
  - start: visitor
  - wait: {host: server, until: {states: {LISTEN: 1, ESTABLISHED: 1}, queued: 0}}
  - {stop: {program: app, signal: SIGKILL}}
  - wait: {host: server, until: {states: {}}}
`, []string{"client: " + asked + " CLOSE_WAIT LAST_ACK CLOSE reset", "server: " + listener, "server: " + accepted + " FIN_WAIT1 FIN_WAIT2 CLOSE timer"}},
		"TIME_WAIT taken over": {programs("", "") + `
steps:
  - {sysctl: {host: client, values: {net.ipv4.ip_local_port_range: 40000 40000}}}
  - start: app
  - run: visitor
  - wait: {host: server, until: {states: {LISTEN: 1, TIME_WAIT: 1}}}
  - run: visitor
  - wait: {host: server, until: {states: {LISTEN: 1, TIME_WAIT: 1}}}
`, []string{"client: " + asked + closesLast, "client: " + asked + closesLast,
			"server: " + listener, "server: " + accepted + closesFirst, "server: " + accepted + closesFirst + " CLOSE reused"}},
		"connection refused": {programs("", hold) + `
steps:
  - start: visitor
    expect: {connect: ECONNREFUSED}
`, []string{"client: CLOSE SYN_SENT CLOSE reset"}},
		"reset": {programs("serve: hold, options: {linger: 0s}", hold) + `
steps:
  - start: app
  - start: visitor
  - wait: {host: server, until: {states: {LISTEN: 1, ESTABLISHED: 1}, queued: 0}}
  - {stop: {program: app, signal: SIGKILL}}
  - wait: {host: client, until: {states: {}}}
`, []string{"client: " + asked + " CLOSE reset", "server: " + listener, "server: " + accepted + " CLOSE"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events := run(t, c.text)
			if v, step := verdict(events); v != journal.Pass {
				t.Errorf("verdict %s at %s", v, step)
			}
			got := lives(t, events)
			if c.want == nil { // whatever number of the same
				for _, l := range got {
					if l != "server: "+listener {
						t.Error(l)
					}
				}
				return
			}
			want := slices.Clone(c.want)
			slices.Sort(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

var (
	_ = bufio.NewScanner
	_ = fmt.Sprint
	_ = io.EOF
	_ = maps.Keys[map[int]int]
	_ = exec.Command
)
