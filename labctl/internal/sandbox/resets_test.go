package sandbox_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/journal"
)

// plain is an address as a segment has it, whatever the socket.
func plain(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// TestResets lets hosts send RSTs of each kind, and compares what the kernel told of
// them with the segments at the interfaces.
func TestResets(t *testing.T) {
	needTrace(t)
	const held = `name: s
programs: {app: {host: server, server: {serve: hold%s}}, visitor: {host: client, client: {address: "%s", hold: true}}}
steps:
  - start: app
  - start: visitor
  - wait: {host: server, until: {states: {LISTEN: 1, ESTABLISHED: 1}, queued: 0}}
  - {stop: {program: %s, signal: SIGKILL}}
  - wait: {host: %s, until: {states: {%s}}}
`
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"a closed port": {`
name: s
programs: {visitor: {host: client, client: {address: server}}}
steps: [{run: visitor, expect: {connect: ECONNREFUSED}}]
`, []string{"client takes in SYN_SENT", "server sends, NO_SOCKET"}},
		"a closed port, IPv6": {`
name: s
programs: {visitor: {host: client, client: {address: "2001:db8:44::144"}}}
steps: [{run: visitor, expect: {connect: ECONNREFUSED}}]
`, []string{"client takes in SYN_SENT", "server sends, NO_SOCKET"}},
		"linger": {fmt.Sprintf(held, ", options: {linger: 0s}", "192.168.44.144", "app", "client", ""),
			[]string{"client takes in ESTABLISHED", "server sends in CLOSE, TCP_STATE"}},
		"IPv4 at a socket of IPv6": {fmt.Sprintf(held, `, address: "::", options: {linger: 0s, v6only: false}`, "192.168.44.144", "app", "client", ""),
			[]string{"client takes in ESTABLISHED", "server sends in CLOSE, TCP_STATE"}},
		"none": {fmt.Sprintf(held, "", "192.168.44.144", "visitor", "server", "LISTEN: 1, CLOSE_WAIT: 1"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			events := run(t, c.text)
			if v, step := verdict(events); v != journal.Pass {
				t.Fatalf("verdict %s at %s", v, step)
			}
			var got, told, seen []string
			for _, e := range events {
				switch {
				case e.Loss != nil:
					t.Errorf("lost: %+v", e.Loss)
				case e.Reset != nil:
					r := e.Reset
					text := e.Host + " takes"
					if r.Sent {
						text = e.Host + " sends"
						told = append(told, fmt.Sprint(plain(r.Local), plain(r.Remote)))
					}
					if r.State != "" {
						text += " in " + r.State
					}
					if r.Reason != "" {
						text += ", " + r.Reason
					}
					got = append(got, text)
				case e.Segment != nil && e.Segment.Out && slices.Contains(e.Segment.Flags, "RST"):
					seen = append(seen, fmt.Sprint(plain(e.Segment.From), plain(e.Segment.To)))
				}
			}
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(seen, told); diff != "" {
				t.Errorf("at the interfaces and by the kernel:\n%s", diff)
			}
		})
	}
}

// TestKernelMemory looks at what the table after a refused bind has of the kernel's
// memory: the holder's option as its program set it, whatever the new one has.
func TestKernelMemory(t *testing.T) {
	needTrace(t)
	for _, c := range []struct {
		old, new string
		reuse    bool
	}{
		{"", "", false},
		{"", ", options: {reuseaddr: true}", false},
		{", options: {reuseaddr: true}", "", true},
	} {
		t.Run(fmt.Sprint(c.old, c.new), func(t *testing.T) {
			t.Parallel()
			events := run(t, fmt.Sprintf(`
name: s
programs:
  app:     {host: server, server: {address: 0.0.0.0%s}}
  again:   {host: server, server: {address: 0.0.0.0%s}}
  visitor: {host: client, client: {address: server}}
steps:
  - start: app
  - run: visitor
  - stop: app
  - wait: {host: server, until: {states: {TIME_WAIT: 1}}}
  - start: again
    expect: {bind: EADDRINUSE, holders: {TIME_WAIT: 1}}
`, c.old, c.new))
			if v, step := verdict(events); v != journal.Pass {
				t.Fatalf("verdict %s at %s", v, step)
			}
			var history explain.History
			found := false
			for _, e := range events {
				history.Add(e)
				if e.Sockets == nil {
					continue
				}
				for _, row := range e.Sockets.Rows {
					if e.Sockets.After == 0 {
						if row.ReuseAddr != nil || row.Bucket != nil {
							t.Errorf("a table that was not read after a refused call has %+v", row)
						}
						continue
					}
					if row.State != "TIME_WAIT" {
						continue
					}
					found = true
					if row.ReuseAddr == nil || *row.ReuseAddr != c.reuse || row.ReusePort == nil || *row.ReusePort || row.Bucket == nil {
						t.Fatalf("the kernel's memory: %+v", row)
					}
					// A listener was among them, so that no bind is allowed at a glance.
					if row.Bucket.FastReuse != 0 || row.Bucket.FastReusePort != 0 || row.Bucket.UID != nil {
						t.Errorf("the port's bucket: %+v", row.Bucket)
					}
					x, ok := history.Refusal(e.Sockets.After)
					if !ok || !x.Holders[0].Kernel || !strings.Contains(x.String(), "(kernel: the old socket's skc_reuse ") {
						t.Errorf("explained as %v", x)
					}
				}
			}
			if !found {
				t.Error("no table after the refused bind has the TIME_WAIT")
			}
		})
	}
}
