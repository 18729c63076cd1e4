package sandbox_test

import (
	"cmp"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/trace"
	"restartlab/scenarios"
)

// needTrace skips the test where the kernel does not tell of state changes.
func needTrace(t testing.TB) {
	t.Helper()
	need(t)
	if err := traceable(t); err != nil {
		t.Skip(err)
	}
}

// traceable is why the kernel does not tell of state changes here, nil if it does.
func traceable(t testing.TB) error {
	t.Helper()
	tracer, err := trace.Open(0)
	unavailable := (*trace.Unavailable)(nil)
	switch {
	case errors.As(err, &unavailable):
		return err
	case err != nil:
		t.Fatal(err)
	}
	if err := tracer.Close(); err != nil {
		t.Fatal(err)
	}
	return nil
}

// eachLayer runs a test with the layers that there are here: as root with both on
// the same run and with the inferred one alone, else with that.
func eachLayer(t *testing.T, test func(*testing.T, scenario.Layer)) {
	need(t)
	layers := []scenario.Layer{scenario.BothLayers, scenario.LayerInferred}
	if err := traceable(t); err != nil {
		t.Logf("the exact layer is not tested: %v", err)
		layers = layers[1:]
	}
	for _, l := range layers {
		t.Run(string(l), func(t *testing.T) { test(t, l) })
	}
}

// states are the transitions of a run that a layer told, in the order of time.
func states(t testing.TB, events []journal.Event, exact bool) (list []journal.Event) {
	t.Helper()
	for _, e := range events {
		if e.Loss != nil {
			t.Errorf("%d transitions were lost", e.Loss.Count)
		}
		if e.State != nil && (e.State.Source == journal.SourceKernel) == exact {
			list = append(list, e)
		}
	}
	slices.SortStableFunc(list, func(a, b journal.Event) int { return cmp.Compare(a.T, b.T) })
	return list
}

// lives are the sequences of a run's sockets: "HOST: CLOSE LISTEN CLOSE", sorted.
// It also checks that each goes on where it was, between the same ends.
func lives(t testing.TB, events []journal.Event, exact bool) []string {
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
	for _, e := range states(t, events, exact) {
		s := e.State
		l := all[key{e.Host, s.Cookie}]
		if l == nil {
			l = &life{e.Host + ": " + s.From, s.From, s.Local, s.Remote}
			all[key{e.Host, s.Cookie}] = l
		}
		if s.From != l.state || s.Local != l.local || s.Remote != l.remote || s.Cookie == 0 {
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

// compareLives compares what a run's sockets went through with the textbook, and
// what the two layers told of it. What a wanted line leaves open with "..." may go
// on as it likes. No line at all: whatever number of listeners.
func compareLives(t testing.TB, events []journal.Event, layer scenario.Layer, want []string) {
	t.Helper()
	got := lives(t, events, false)
	if layer == scenario.BothLayers {
		exact := lives(t, events, true)
		if diff := gocmp.Diff(exact, got); diff != "" {
			t.Errorf("what was inferred is not what the kernel told:\n%s", diff)
		}
		got = exact
	}
	if want == nil {
		for _, l := range got {
			if l != "server: "+listener {
				t.Error(l)
			}
		}
		return
	}
	want = slices.Sorted(slices.Values(want))
	if len(got) == len(want) {
		for i, w := range want {
			if start, open := strings.CutSuffix(w, " ..."); open && strings.HasPrefix(got[i], start) {
				got[i] = w
			}
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
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

// textbook is what the sockets of each shipped scenario go through.
var textbook = map[string][]string{
	"listening": {"server: " + listener, "server: " + listener},
	"reuseaddr": {
		"client: " + asked + closesLast, "server: " + listener, "server: " + listener, "server: " + accepted + closesFirst},
	"reuseaddr-too-late": {
		"client: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst},
	"client-closes-first": {
		"client: " + asked + closesFirst, "server: " + listener, "server: " + listener, "server: " + accepted + closesLast},
	"surviving-child": {
		"client: " + asked + closesFirst, "server: " + listener, "server: " + listener, "server: " + accepted + closesLast},
	// At the lab's end both ends are killed at the same moment.
	"surviving-child-reuseaddr": {
		"client: " + asked + " ...", "server: " + listener, "server: " + listener, "server: " + accepted + " ..."},
	"one-host": {
		"server: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst},
	"idle-restart": nil,
	"ipv6": {
		"client: " + asked + closesLast, "server: " + listener, "server: " + listener, "server: " + listener, "server: " + accepted + closesFirst},
	"restart": {
		"client: " + asked + closesFirst, "client: " + asked + closesLast,
		"server: " + listener, "server: " + listener, "server: " + listener, "server: " + listener,
		"server: " + accepted + closesLast, "server: " + accepted + closesFirst},
	"timewait": {
		"client: " + asked + closesLast, "server: " + listener, "server: " + listener, "server: " + accepted + closesFirst + " CLOSE timer"},
}

// TestShippedStates plays every shipped scenario and compares what its sockets went
// through with the textbook.
func TestShippedStates(t *testing.T) {
	files, err := fs.Glob(scenarios.Files, "*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".yaml")
		want, written := textbook[name]
		if !written {
			t.Errorf("what the sockets of %s go through is not written down here", name)
		}
		if name == "timewait" {
			continue // TestTimeWait
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachLayer(t, func(t *testing.T, layer scenario.Layer) {
				events := runWith(t, shipped(t, name), layer)
				if v, step := verdict(events); v != journal.Pass {
					t.Errorf("verdict %s at %s", v, step)
				}
				compareLives(t, events, layer, want)
			})
		})
	}
}

func TestStates(t *testing.T) {
	programs := func(server, client string) string {
		return "name: s\nprograms: {app: {host: server, server: {" + server + "}}, visitor: {host: client, client: {address: server" + client + "}}}\n"
	}
	const hold = ", hold: true"
	const made = `
name: s
sockets: {listener: {host: server, address: 0.0.0.0}, call: {host: client}}
steps:
  - bind: listener
  - listen: listener
  - connect: {socket: call, address: server}
  - accept: {socket: listener, as: served}`
	cases := map[string]struct {
		text string
		want []string
	}{
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
		"the listener closes before anybody accepts": {`
name: s
sockets: {listener: {host: server, address: 0.0.0.0}, call: {host: client}}
steps:
  - bind: listener
  - listen: listener
  - connect: {socket: call, address: server}
  - close: listener
  - {recv: call, expect: {result: ECONNRESET}}
`, []string{"client: " + asked + " CLOSE reset", "server: " + listener, "server: " + accepted + " CLOSE"}},
		"a connection is destroyed": {made + `
  - destroy: served
  - {recv: call, expect: {result: ECONNRESET}}
`, []string{"client: " + asked + " CLOSE reset", "server: " + listener, "server: " + accepted + " CLOSE"}},
		"a TIME_WAIT is destroyed": {made + `
  - close: served
  - recv: call
  - close: call
  - wait: {host: server, until: {states: {LISTEN: 1, TIME_WAIT: 1}}}
  - destroy: served
`, []string{"client: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst + " CLOSE killed"}},
		"a FIN is lost once": {made + `
  - drop: {host: client, segments: FIN, count: 1}
  - close: served
  - recv: call
  - close: call
  - wait: {host: server, until: {states: {LISTEN: 1, TIME_WAIT: 1}}}
`, []string{"client: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst}},
		"the last ACK is lost once": {made + `
  - close: served
  - recv: call
  - drop: {host: client, segments: ACK, count: 1}
  - close: call
  - wait: {host: server, until: {states: {LISTEN: 1, TIME_WAIT: 1}}}
  - wait: {for: 1s}
`, []string{"client: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst}},
		"an RST is lost": {made + `
  - setsockopt: {socket: served, options: {linger: 0s}}
  - drop: {host: client, segments: RST, count: 1}
  - close: served
  - wait: {host: server, until: {states: {LISTEN: 1}}}
  - send: {socket: call, text: late}
  - {recv: call, expect: {result: ECONNRESET}}
`, []string{"client: " + asked + " CLOSE reset", "server: " + listener, "server: " + accepted + " CLOSE"}},
		"the SYN,ACK is lost once": {`
name: s
sockets: {listener: {host: server, address: 0.0.0.0}, call: {host: client}}
steps:
  - bind: listener
  - listen: listener
  - drop: {host: client, segments: SYN, count: 1}
  - connect: {socket: call, address: server}
  - accept: {socket: listener, as: served}
  - close: call
  - recv: served
  - close: served
  - wait: {host: server, until: {states: {LISTEN: 1}}}
`, []string{"client: " + asked + closesFirst, "server: " + listener, "server: " + accepted + closesLast}},
		"half closed": {made + `
  - shutdown: {socket: served, how: SHUT_WR}
  - recv: call
  - send: {socket: call, text: more}
  - {recv: served, expect: {text: more}}
  - close: call
  - recv: served
  - close: served
  - wait: {host: server, until: {states: {LISTEN: 1, TIME_WAIT: 1}}}
`, []string{"client: " + asked + closesLast, "server: " + listener, "server: " + accepted + closesFirst}},
		"data after close()": {made + `
  - close: served
  - recv: call
  - wait: {host: server, until: {states: {LISTEN: 1, FIN_WAIT2: 1}}}
  - {send: {socket: call, text: late}}
  - wait: {host: server, until: {states: {LISTEN: 1}}}
`, []string{"client: " + asked + " CLOSE_WAIT CLOSE reset", "server: " + listener, "server: " + accepted + " FIN_WAIT1 FIN_WAIT2 CLOSE killed"}},
		// The data may come with the acknowledgement of the FIN.
		"data after close(), at once": {made + `
  - close: served
  - recv: call
  - {send: {socket: call, text: late}}
  - wait: {host: server, until: {states: {LISTEN: 1}}}
`, []string{"client: " + asked + " CLOSE_WAIT CLOSE reset", "server: " + listener, "server: " + accepted + " FIN_WAIT1 FIN_WAIT2 CLOSE ..."}},
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
			eachLayer(t, func(t *testing.T, layer scenario.Layer) {
				events := runWith(t, c.text, layer)
				if v, step := verdict(events); v != journal.Pass {
					t.Errorf("verdict %s at %s", v, step)
				}
				compareLives(t, events, layer, c.want)
			})
		})
	}
}

// TestHeldStates holds a socket in each state, by dropping segments where they
// arrive: the captures show them, and TCP never gets them. What becomes of the
// sockets when the lab ends is left out.
func TestHeldStates(t *testing.T) {
	peers := []string{"client: " + listener}
	for state, want := range map[string][]string{
		"LISTEN":      {"server: CLOSE LISTEN"},
		"SYN_SENT":    {"server: CLOSE SYN_SENT"},
		"SYN_RECV":    {"server: CLOSE LISTEN", "server: LISTEN SYN_RECV", "client: " + asked},
		"ESTABLISHED": append(peers, "server: "+asked, "client: "+accepted),
		"FIN_WAIT1":   append(peers, "server: "+asked+" FIN_WAIT1", "client: "+accepted),
		"FIN_WAIT2":   append(peers, "server: "+asked+" FIN_WAIT1 FIN_WAIT2", "client: "+accepted+" CLOSE_WAIT"),
		"CLOSE_WAIT":  append(peers, "server: "+asked+" CLOSE_WAIT", "client: "+accepted+" FIN_WAIT1 FIN_WAIT2"),
		"LAST_ACK":    append(peers, "server: "+asked+" CLOSE_WAIT LAST_ACK", "client: "+accepted+" FIN_WAIT1 FIN_WAIT2"),
		"CLOSING":     append(peers, "server: "+asked+" FIN_WAIT1 CLOSING", "client: "+accepted+" FIN_WAIT1 FIN_WAIT2"),
		"TIME_WAIT":   append(peers, "server: "+asked+closesFirst, "client: "+accepted+closesLast),
	} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			eachLayer(t, func(t *testing.T, layer scenario.Layer) {
				events := runWith(t, `
name: held
sockets: {old: {host: server, address: 0.0.0.0}}
steps:
  - hold: {socket: old, state: `+state+`, peer: client}
  - wait: {for: 300ms}
`, layer)
				if v, step := verdict(events); v != journal.Pass {
					t.Fatalf("verdict %s at %s", v, step)
				}
				var end int64
				for _, e := range events {
					if e.StepRun != nil && e.StepRun.Phase == journal.PhaseEnd {
						end = e.T
					}
				}
				events = slices.DeleteFunc(events, func(e journal.Event) bool { return e.State != nil && e.T > end })
				compareLives(t, events, layer, want)
			})
		})
	}
}

// TestClosing lets both ends close while no segment gets through: whichever FIN is
// sent again first meets an end that has closed too, in CLOSING.
func TestClosing(t *testing.T) {
	eachLayer(t, testClosing)
}

func testClosing(t *testing.T, layer scenario.Layer) {
	events := runWith(t, `
name: closing
programs:
  app:     {host: server, server: {serve: hold}}
  visitor: {host: client, client: {address: server, hold: true}}
steps:
  - start: app
  - start: visitor
  - wait: {host: server, until: {states: {LISTEN: 1, ESTABLISHED: 1}, queued: 0}}
  - link: {host: client, state: down}
  - stop: {program: app, signal: SIGKILL}
  - stop: {program: visitor, signal: SIGKILL}
  - link: {host: client, state: up}
  - wait: {host: server, until: {states: {TIME_WAIT: 1}}}
  - wait: {host: client, until: {states: {}}}
`, layer)
	if v, step := verdict(events); v != journal.Pass {
		t.Fatalf("verdict %s at %s", v, step)
	}
	got := lives(t, events, false)
	if layer == scenario.BothLayers {
		exact := lives(t, events, true)
		if diff := gocmp.Diff(exact, got); diff != "" {
			t.Errorf("what was inferred is not what the kernel told:\n%s", diff)
		}
	}
	if len(got) != 3 || got[1] != "server: "+listener {
		t.Fatalf("%q", got)
	}
	crossed := 0
	for i, born := range map[int]string{0: "client: " + asked, 2: "server: " + accepted} {
		switch got[i] {
		case born + " FIN_WAIT1 CLOSING TIME_WAIT":
			crossed++
		case born + closesFirst:
		default:
			t.Error(got[i])
		}
	}
	if crossed == 0 {
		t.Errorf("no end was in CLOSING: %q", got)
	}
}

// TestTimeWait waits for the end of a TIME_WAIT, and compares it with what was
// known at its birth.
func TestTimeWait(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	eachLayer(t, func(t *testing.T, layer scenario.Layer) {
		t.Parallel()
		testTimeWait(t, layer)
	})
}

func testTimeWait(t *testing.T, layer scenario.Layer) {
	events := runWith(t, shipped(t, "timewait"), layer)
	compareLives(t, events, layer, textbook["timewait"])
	var born, died, due int64
	for _, e := range states(t, events, layer == scenario.BothLayers) {
		switch {
		case e.State.To == "TIME_WAIT":
			born, due = e.T, e.State.Due
		case e.State.From == "TIME_WAIT":
			died = e.T
		}
	}
	t.Logf("TIME_WAIT for %v, due after %v", time.Duration(died-born), time.Duration(due-born))
	if died-born < int64(60*time.Second) {
		t.Errorf("TIME_WAIT ended after %v", time.Duration(died-born))
	}
	// An interrupt that is late, and a jiffy of rounding.
	if off := time.Duration(died - due); due != 0 && (off < -20*time.Millisecond || off > 200*time.Millisecond) {
		t.Errorf("TIME_WAIT ended %v after it was due", off)
	}
}

// TestStateTimes looks at whether state changes have times of their run, whoever
// told of them.
func TestStateTimes(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer scenario.Layer) {
		events := runWith(t, shipped(t, "reuseaddr"), layer)
		var begin, end int64
		for _, e := range events {
			if e.LabInfo != nil {
				begin, end = end, e.T
			}
		}
		found := 0
		for _, e := range events {
			if e.State != nil {
				found++
				if e.T < begin || e.T > end {
					t.Errorf("a change at %v in a lab from %v to %v: %+v", time.Duration(e.T), time.Duration(begin), time.Duration(end), e.State)
				}
			}
		}
		if found < 10 {
			t.Errorf("only %d changes", found)
		}
	})
}

// TestTimeNamespace does so where CLOCK_MONOTONIC is not the kernel's own.
func TestTimeNamespace(t *testing.T) {
	needTrace(t)
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip("needs unshare")
	}
	if out, err := exec.Command(unshare, "--time", "--monotonic", "100000", "true").CombinedOutput(); err != nil {
		t.Skipf("no time namespace here: %s", out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(unshare, "--time", "--monotonic", "100000", self, "-test.v", "-test.run=^TestStateTimes$").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestStateTimes/both") {
		t.Errorf("%v:\n%s", err, out)
	}
}
