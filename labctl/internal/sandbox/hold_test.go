package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
)

const port = 12500

// socketLab is a lab on two hosts with these sockets and steps; what they leave
// out is filled in.
func socketLab(name string, sockets []scenario.Socket, steps ...scenario.Step) scenario.Lab {
	lab := scenario.Lab{Name: name, Port: port, Sockets: sockets, Steps: steps,
		Hosts: []scenario.Host{
			{Name: "server", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.144/24"), netip.MustParsePrefix("2001:db8:44::144/64")}},
			{Name: "client", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.145/24"), netip.MustParsePrefix("2001:db8:44::145/64")}}}}
	for i := range lab.Sockets {
		s := &lab.Sockets[i]
		if s.Host == "" {
			s.Host = "server"
		}
		if s.Count == 0 {
			s.Count = 1
		}
		if s.Kind == "" && !s.Made {
			s.Kind = scenario.TCP4
		}
		if !s.Address.IsValid() && !s.Made {
			s.Address = netip.IPv4Unspecified()
		}
		if s.Host == "server" {
			s.Port = port
		}
	}
	for i := range lab.Steps {
		s := &lab.Steps[i]
		s.Index, s.Within = i+1, 10*time.Second
		if s.ID == "" {
			s.ID = fmt.Sprintf("%s %d", s.Verb, s.Index)
		}
		for _, k := range lab.Sockets {
			if s.Verb == scenario.VerbBind && k.Name == s.Socket && !s.Address.IsValid() {
				s.Address, s.Port = k.Address, k.Port
			}
		}
	}
	return lab
}

func play(t testing.TB, plan scenario.Plan) []journal.Event {
	t.Helper()
	var events []journal.Event
	err := sandbox.Run(context.Background(), plan, journal.Header{Version: journal.Version}, &bytes.Buffer{},
		func(e journal.Event) { events = append(events, e) })
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// passes plays labs side by side, each of which must pass, and returns the events of
// each.
func passes(t testing.TB, labs ...scenario.Lab) map[string][]journal.Event {
	t.Helper()
	byLab := map[string][]journal.Event{}
	for _, e := range play(t, scenario.Plan{Labs: labs}) {
		byLab[e.Lab] = append(byLab[e.Lab], e)
	}
	for _, l := range labs {
		if v, step := verdict(byLab[l.Name]); v != journal.Pass {
			t.Errorf("lab %s: verdict %s at step %q: %s", l.Name, v, step, why(byLab[l.Name]))
		}
	}
	return byLab
}

// why says what went wrong in a lab.
func why(events []journal.Event) (text string) {
	for _, e := range events {
		if s := e.StepRun; s != nil && s.Phase == journal.PhaseEnd && s.Verdict != journal.Pass && s.Observed != nil {
			text += fmt.Sprintf("%s: %+v %s; ", s.ID, s.Mismatches, s.Observed.Failure)
		}
		if l := e.LabInfo; l != nil {
			text += l.Error + l.Skipped
		}
	}
	return text
}

// held are the rows on the lab's port of the server's table at the end of a step.
func held(events []journal.Event, step int) (rows []journal.Socket) {
	for _, e := range events {
		if e.Sockets != nil && e.Sockets.Reason == "step" && e.Step == step && e.Host == "server" {
			rows = nil
			for _, r := range e.Sockets.Rows {
				if r.Local.Port() == port {
					rows = append(rows, r)
				}
			}
		}
	}
	return rows
}

func on() *int { v := 1; return &v }

var reuseAddr = scenario.Option{Name: "SO_REUSEADDR", Level: 1, Opt: 2, LevelName: "SOL_SOCKET", Int: on()}

// TestHold brings a socket into every state that can be held, with a descriptor and
// without, over IPv4, IPv6 and IPv4 in IPv6, and looks into the kernel's table. A
// second socket then asks for its port.
func TestHold(t *testing.T) {
	need(t)
	var labs []scenario.Lab
	for _, state := range scenario.Holdable {
		for _, orphan := range []bool{false, true} {
			for _, at := range []string{"0.0.0.0", "::", "::ffff:192.168.44.144", "2001:db8:44::144"} {
				if orphan && (state == "BOUND" || state == "LISTEN" || state == "SYN_SENT" || state == "SYN_RECV" || state == "ESTABLISHED" || state == "CLOSE_WAIT") {
					continue
				}
				kind := scenario.TCP6
				if at == "0.0.0.0" {
					kind = scenario.TCP4
				}
				sockets := []scenario.Socket{{Name: "old", Kind: kind, Address: netip.MustParseAddr(at)},
					{Name: "new", Kind: kind, Address: netip.MustParseAddr(at)}}
				holder := state
				if state == "SYN_RECV" {
					holder = "LISTEN"
				}
				labs = append(labs, socketLab(fmt.Sprintf("%s %v %s", state, orphan, at), sockets,
					scenario.Step{Verb: scenario.VerbHold, Socket: "old", Hold: state, Peer: "client", Orphan: orphan},
					scenario.Step{Verb: scenario.VerbBind, Socket: "new",
						Expect: &scenario.Expect{Result: "EADDRINUSE", Holders: scenario.Tally{holder: scenario.Exactly(1)}}}))
			}
		}
	}
	for name, events := range passes(t, labs...) {
		var state string
		var orphan bool
		if n, _ := fmt.Sscanf(name, "%s %t", &state, &orphan); n != 2 {
			continue // of no lab
		}
		rows := held(events, 1)
		if state == "SYN_RECV" {
			if len(rows) != 2 || rows[0].State != "LISTEN" || rows[1].State != state {
				t.Errorf("%s: the table is %+v", name, rows)
			}
			continue
		}
		if len(rows) != 1 || rows[0].State != state {
			t.Errorf("%s: the table is %+v", name, rows)
			continue
		}
		if open := rows[0].Inode != 0; open == (orphan || state == "TIME_WAIT") {
			t.Errorf("%s: a process has it open: %v", name, open)
		}
	}
}
