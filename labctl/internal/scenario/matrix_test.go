package scenario_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// matrixFile is a file whose steps say what its cells are.
func matrixFile(matrix, steps string) string {
	return "name: x\nmatrix:\n" + matrix + "\nsockets:\n  s: {host: server}\nsteps:\n" + steps + "\n"
}

func cells(s *scenario.Scenario) (names []string) {
	for _, l := range s.Labs {
		names = append(names, l.Name)
	}
	return names
}

func TestCells(t *testing.T) {
	for _, c := range []struct{ name, matrix, want string }{
		{"one axis", "  axes: {a: [x, y]}", "x, y"},
		{"the last varies fastest", "  axes: {a: [x, y], b: [1, 2]}", "x 1, x 2, y 1, y 2"},
		{"named values", "  axes: {a: {none: {}, A: {reuseaddr: true}}}", "none, A"},
		{"exclude", "  axes: {a: [x, y], b: [1, 2]}\n  exclude: [{a: x, b: 2}]", "x 1, y 1, y 2"},
		{"exclude several", "  axes: {a: [x, y, z], b: [1, 2]}\n  exclude: [{a: [x, y], b: 2}, {a: z}]", "x 1, y 1"},
		{"the same on two axes", "  axes: {a: [x, y], b: [x, y]}\n  exclude: [{a: $b}]", "x y, y x"},
		{"include", "  axes: {a: [x, y], b: [1, 2]}\n  include: [{a: x, b: 1}]\n  exclude: [{a: x}]", "x 1, y 1, y 2"},
		{"axes last", "  exclude: [{a: x}]\n  axes: {a: [x, y]}", "y"},
		{"an alias", "  axes: {a: &v [x, y], b: *v}", "x x, x y, y x, y y"},
		{"addresses", "  axes: {a: [192.168.44.144, \"::\", \"::ffff:1.2.3.4\"]}", "192.168.44.144, ::, ::ffff:1.2.3.4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := load(t, matrixFile(c.matrix, "  - bind: s"), scenario.Settings{})
			if got := strings.Join(cells(s), ", "); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			files := map[string]bool{}
			for _, l := range s.Labs {
				files[scenario.FileName(l.Name)] = true
				if strings.Join(l.Cell, " ") != l.Name || len(l.Cell) != len(s.Axes) {
					t.Errorf("%s: cell %q of %v", l.Name, l.Cell, s.Axes)
				}
			}
			if len(files) != len(s.Labs) {
				t.Errorf("%d files for %d cells", len(files), len(s.Labs))
			}
		})
	}
}

// TestValues checks that a variable is the value of its type, as value and as
// key, through aliases and in every kind of place.
func TestValues(t *testing.T) {
	s := load(t, `
name: x
port: $port-of
matrix:
  axes:
    port-of: [80, 8080]
    options: {none: {}, both: {reuseaddr: true, linger: 1s}}
    setting: {a: net.ipv4.tcp_fin_timeout}
    state: [LISTEN]
    patience: [2s]
    on: [true]
hosts:
  server: {sysctls: {$setting: $port-of}}
  client: {}
programs:
  app: {host: server, server: &spec {port: $port-of, options: $options}}
  too: {host: server, server: *spec}
  cmd: {host: server, exec: {argv: [echo, "$state", $state, $HOME, $5, cost $state]}}
sockets:
  s: {host: server, options: $options, count: $port-of}
  k: {host: server, options: {keepalive: $on}}
steps:
  - hold: {socket: s, state: $state}
    within: $patience
    title: $state
  - bind: k
    expect: {result: EADDRINUSE, holders: {$state: $port-of}}
`, scenario.Settings{})
	if len(s.Labs) != 4 {
		t.Fatal(cells(s))
	}
	first, last := s.Labs[0], s.Labs[3]
	for _, c := range []struct{ what, got, want any }{
		{"port", last.Port, uint16(8080)},
		{"sysctls", last.Hosts[0].Sysctls, []scenario.Sysctl{{Name: "net.ipv4.tcp_fin_timeout", Value: "8080"}}},
		{"no options", first.Sockets[0].Options, []scenario.Option(nil)},
		{"options", len(last.Sockets[0].Options), 2},
		{"count", first.Sockets[0].Count, 80},
		{"a boolean", *first.Sockets[1].Options[0].Int, 1},
		{"a server's options", last.Programs[0].Server.Options.ReuseAddr != nil, true},
		{"through an alias", last.Programs[1].Server.Options.ReuseAddr != nil, true},
		{"not within texts", last.Programs[2].Exec.Argv, []string{"echo", "$state", "LISTEN", "$HOME", "$5", "cost $state"}},
		{"a state", first.Steps[0].Hold, "LISTEN"},
		{"a duration", first.Steps[0].Within, 2 * time.Second},
		{"a title", first.Steps[0].Title, journal.Text{EN: "LISTEN"}},
		{"a key", first.Steps[1].Expect.Holders, scenario.Tally{"LISTEN": scenario.Exactly(80)}},
		{"as written", string(first.Steps[1].Written), `{"result":"EADDRINUSE","holders":{"LISTEN":80}}`},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.what, diff)
		}
	}
}

// TestRows checks which row counts in which cell.
func TestRows(t *testing.T) {
	s := load(t, matrixFile("  axes: {a: [x, y, z], b: [x, y]}", `  - bind: s
    expect:
      - {when: {a: z, b: y}, result: EINVAL}
      - {when: {a: $b}, result: EACCES}
      - {when: {a: [x, z]}, result: EPERM}
      - any
  - netstat: server
    when: {b: x}
    expect: {when: {b: x}, states: {}}`), scenario.Settings{})
	got := map[string]string{}
	for _, l := range s.Labs {
		e := l.Steps[0].Expect
		got[l.Name] = fmt.Sprint(e.Result, " ", e.Any, " ", len(l.Steps))
	}
	want := map[string]string{"x x": "EACCES false 2", "x y": "EPERM false 1", "y x": " true 2", "y y": "EACCES false 1", "z x": "EPERM false 2", "z y": "EINVAL false 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestIDsOfCells checks that a step has the same id in every cell, whatever is
// played before it.
func TestIDsOfCells(t *testing.T) {
	s := load(t, matrixFile("  axes: {a: [x, y]}", `  - netstat: server
    when: {a: x}
  - repeat:
      times: 2
      steps: [{netstat: server}]
    when: {a: y}
  - netstat: server
  - netstat: server
    expect:
      - {when: {a: x}, states: {}}
      - any`), scenario.Settings{})
	got := map[string][]string{}
	for _, l := range s.Labs {
		for _, step := range l.Steps {
			got[l.Name] = append(got[l.Name], strings.TrimSpace(fmt.Sprint(step.Index, " ", step.ID, " ", string(step.Written))))
		}
	}
	want := map[string][]string{
		"x": {"1 netstat server", "2 netstat server 4", `3 netstat server 5 {"states":{}}`},
		"y": {"1 netstat server 2", "2 netstat server 3", "3 netstat server 4", `4 netstat server 5 "any"`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNarrowed(t *testing.T) {
	text := matrixFile("  axes: {a: [x, y], b: [1, 2, 3]}\n  exclude: [{a: x, b: 1}]", "  - bind: s\n    expect:\n      - {when: {a: x}, result: ok}\n      - {result: ok}")
	for _, c := range []struct {
		set        map[string]string
		want, axes string
	}{
		{nil, "x 2, x 3, y 1, y 2, y 3", `[{"name":"a","values":["x","y"]},{"name":"b","values":["1","2","3"]}]`},
		{map[string]string{"a": "x"}, "x 2, x 3", `[{"name":"a","values":["x"]},{"name":"b","values":["1","2","3"]}]`},
		{map[string]string{"a": "x", "b": "3 2", "port": "99"}, "x 2, x 3", `[{"name":"a","values":["x"]},{"name":"b","values":["2","3"]}]`},
	} {
		s := load(t, text, scenario.Settings{Set: c.set})
		axes, err := json.Marshal(s.Axes)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(cells(s), ", "); got != c.want || string(axes) != c.axes {
			t.Errorf("%v: %s of %s, want %s of %s", c.set, got, axes, c.want, c.axes)
		}
		if c.set["port"] != "" && s.Labs[0].Port != 99 {
			t.Errorf("port %d", s.Labs[0].Port)
		}
	}
}

// TestMadeSockets checks who has the sockets that steps make.
func TestMadeSockets(t *testing.T) {
	s := load(t, `
name: x
programs: {old: {host: server}, new: {host: server}, child: {host: server}}
sockets:
  own:    {host: server, port: 1}
  theirs: {program: old, port: 2, count: 2}
  calls:  {host: client}
steps:
  - listen: own
  - connect: {socket: calls, address: server, port: 1}
  - accept: {socket: own, as: served, count: 3}
  - bind: theirs
    expect: {result: EADDRINUSE, holders: {BOUND: {min: 1}}}
  - pass: {socket: theirs, to: new, as: given}
  - inherit: {socket: own, to: child, as: kept}
  - repeat:
      times: 2
      steps:
        - accept: {socket: kept, as: again}
        - close: again
`, scenario.Settings{})
	got := map[string]string{}
	for _, k := range s.Labs[0].Sockets {
		if k.Made {
			got[k.Name] = fmt.Sprint(k.Program, " on ", k.Host, ", ", k.Count)
		}
	}
	want := map[string]string{"served": "own on server, 3", "given": "new on server, 2", "kept": "child on server, 1", "again": "child on server, 1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// thousand is a study of 1,000 cells.
const thousand = `
name: thousand
matrix:
  axes:
    a: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    b: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    before: &sets {none: {}, A: {reuseaddr: true}, P: {reuseport: true}, AP: {reuseaddr: true, reuseport: true}, L: {linger: 0s}}
    after: {none: {}, A: {reuseaddr: true}}
sockets:
  old: {host: server, address: 0.0.0.0, options: $before}
  new: {host: server, address: 0.0.0.0, options: $after}
steps:
  - bind: old
  - listen: {socket: old, backlog: $a}
  - bind: new
    expect:
      - {when: {before: [A, AP], after: A}, result: EADDRINUSE, holders: {LISTEN: 1}}
      - {result: EADDRINUSE, holders: {LISTEN: 1}}
  - close: old
  - bind: new
`

func BenchmarkLoadThousandCells(b *testing.B) {
	for b.Loop() {
		s, err := scenario.Load("thousand.yaml", []byte(thousand), scenario.Settings{})
		if err != nil || len(s.Labs) != 1000 {
			b.Fatal(err)
		}
	}
}

// FuzzMatrix holds the cells of a matrix against those of a plain loop over all
// combinations.
func FuzzMatrix(f *testing.F) {
	f.Add([]byte{2, 3}, []byte{0, 1}, []byte{1, 2, 0, 0})
	f.Add([]byte{4}, []byte{}, []byte{0, 0})
	f.Add([]byte{1, 1, 5, 2}, []byte{2, 2, 3, 1, 2, 3}, []byte{2, 2})
	f.Fuzz(func(t *testing.T, sizes, excluded, included []byte) {
		var names []string
		var axes [][]string
		total := 1
		for i, n := range sizes[:min(len(sizes), 4)] {
			var values []string
			for v := range int(n)%5 + 1 {
				values = append(values, fmt.Sprintf("v%d", v))
			}
			names, axes = append(names, fmt.Sprintf("a%d", i)), append(axes, values)
			total *= len(values)
		}
		if len(axes) == 0 {
			return
		}
		// Each pair of bytes is a condition on one axis.
		type cond struct{ axis, value int }
		conds := func(b []byte) (all []cond) {
			for i := 0; i+1 < len(b) && len(all) < 5; i += 2 {
				a := int(b[i]) % len(axes)
				all = append(all, cond{a, int(b[i+1]) % len(axes[a])})
			}
			return all
		}
		write := func(key string, all []cond) (s string) {
			for i, c := range all {
				if i == 0 {
					s = "  " + key + ":\n"
				}
				s += fmt.Sprintf("    - {%s: %s}\n", names[c.axis], axes[c.axis][c.value])
			}
			return s
		}
		fits := func(all []cond, cell []int) bool {
			return slices.ContainsFunc(all, func(c cond) bool { return cell[c.axis] == c.value })
		}
		out, in := conds(excluded), conds(included)
		text := "  axes:\n"
		for i, values := range axes {
			text += fmt.Sprintf("    %s: [%s]\n", names[i], strings.Join(values, ", "))
		}
		text += write("exclude", out) + write("include", in)
		var want []string
		for n := range total {
			cell, rest := make([]int, len(axes)), n
			var words []string
			for i := len(axes) - 1; i >= 0; i-- {
				cell[i], rest = rest%len(axes[i]), rest/len(axes[i])
			}
			for i, v := range cell {
				words = append(words, axes[i][v])
			}
			if !fits(out, cell) || fits(in, cell) {
				want = append(want, strings.Join(words, " "))
			}
		}
		s, err := scenario.Load("in.yaml", []byte(matrixFile(text, "  - bind: s")), scenario.Settings{})
		if err != nil {
			// A condition that changes nothing is a mistake in a file, and so is
			// a matrix without a cell.
			m := err.Error()
			if strings.Contains(m, "no cell of these values") || strings.Contains(m, "are there already") || len(want) == 0 && strings.Contains(m, "leaves no cell") {
				return
			}
			t.Fatalf("%s\n%s", text, m)
		}
		if got := cells(s); !slices.Equal(got, want) {
			t.Fatalf("%s\n%v, want %v", text, got, want)
		}
	})
}
