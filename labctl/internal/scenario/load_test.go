package scenario_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"

	"restartlab/labctl/internal/scenario"
	"restartlab/scenarios"
)

// badCase is a file of testdata/bad: a comment, the input, and all that Load
// says of it. A line of the comment that begins with "set " or "command " gives
// settings; "loader only" says that a schema cannot refuse the input.
type badCase struct {
	name, path string
	archive    *txtar.Archive
	input      []byte
	want       string
	settings   scenario.Settings
	loaderOnly bool
}

func badCases(t testing.TB) (cases []badCase) {
	t.Helper()
	paths, err := filepath.Glob("testdata/bad/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatal("no testdata/bad", err)
	}
	for _, path := range paths {
		a, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Files) != 2 || a.Files[0].Name != "in.yaml" || a.Files[1].Name != "want" {
			t.Fatalf("%s: it has in.yaml and want, in this order", path)
		}
		c := badCase{
			name: strings.TrimSuffix(filepath.Base(path), ".txtar"), path: path, archive: a,
			input: a.Files[0].Data, want: string(a.Files[1].Data),
		}
		for line := range strings.Lines(string(a.Comment)) {
			verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch {
			case strings.TrimSpace(line) == "loader only":
				c.loaderOnly = true
			case verb == "set":
				name, value, _ := strings.Cut(rest, "=")
				c.settings.Set = map[string]string{name: value}
			case verb == "command":
				c.settings.Command = strings.Fields(rest)
			}
		}
		cases = append(cases, c)
	}
	return cases
}

func TestBadFiles(t *testing.T) {
	for _, c := range badCases(t) {
		t.Run(c.name, func(t *testing.T) {
			_, err := scenario.Load("in.yaml", c.input, c.settings)
			if err == nil {
				t.Fatal("it was accepted")
			}
			got := err.Error() + "\n"
			if *update {
				c.archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(c.path, txtar.Format(c.archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestGoodFiles(t *testing.T) {
	for _, name := range []string{"everything", "sockets"} {
		t.Run(name, func(t *testing.T) {
			file := "testdata/good/" + name + ".yaml"
			data, err := scenario.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			s, err := scenario.Load(file, data, scenario.Settings{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(s.Labs[0], "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/good/"+name+".json", string(got)+"\n")
		})
	}
}

func load(t *testing.T, text string, s scenario.Settings) *scenario.Scenario {
	t.Helper()
	sc, err := scenario.Load("in.yaml", []byte(text), s)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

const smallest = "name: x\nhosts: {server: {}}\nprograms: {app: {server: {}}}\nsteps:\n  - start: app\n"

func TestDefaults(t *testing.T) {
	s := load(t, smallest, scenario.Settings{})
	app := s.Labs[0].Programs[0]
	want := scenario.Server{Address: netip.MustParseAddr("0.0.0.0"), Port: 12500, Backlog: 16, Serve: scenario.ServeGreet}
	if diff := cmp.Diff(want, *app.Server, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
	if app.Host != "server" || len(s.Labs[0].Hosts) != 1 || len(s.Labs[0].Hosts[0].Addresses) != 2 {
		t.Errorf("hosts %v, app on %s", s.Labs[0].Hosts, app.Host)
	}
	if step := s.Labs[0].Steps[0]; step.Within != 10*time.Second || step.ID != "start app" || step.Line != 5 || step.Written != nil {
		t.Errorf("step %+v", step)
	}
	if s.Digest != "sha256:"+fmt.Sprintf("%x", sha256.Sum256([]byte(smallest))) || s.Text != smallest {
		t.Errorf("digest %s", s.Digest)
	}
}

func TestSettings(t *testing.T) {
	s := load(t, smallest, scenario.Settings{Set: map[string]string{"port": "8080"}, Command: []string{"./mine", "-v"}})
	want := &scenario.Exec{Argv: []string{"./mine", "-v"}, Ready: scenario.Ready{Port: 8080}}
	app := s.Labs[0].Programs[0]
	if diff := cmp.Diff(want, app.Exec); diff != "" || app.Server != nil || s.Labs[0].Port != 8080 {
		t.Errorf("port %d, server %v, %s", s.Labs[0].Port, app.Server, diff)
	}
}

func TestRounds(t *testing.T) {
	s := load(t, `
name: x
hosts: {server: {}}
programs: {app: {server: {}}}
steps:
  - repeat:
      times: 2
      steps:
        - start: app
          id: begin
        - stop: app
          expect: {took: {since: begin, max: 5s}}
        - repeat: {times: 2, steps: [{netstat: server}]}
  - start: app
    expect: {took: {since: begin, max: 50s}}
  - stop: app
    expect: {took: {since: stop app 2, max: 50s}}
`, scenario.Settings{})
	var got []string
	for _, step := range s.Labs[0].Steps {
		line := fmt.Sprint(step.Index, " ", step.ID)
		if step.Expect != nil {
			line += ", since " + step.Expect.Took.Since
		}
		got = append(got, line)
	}
	want := []string{
		"1 begin", "2 stop app, since begin", "3 netstat server", "4 netstat server 2",
		"5 begin 2", "6 stop app 2, since begin 2", "7 netstat server 3", "8 netstat server 4",
		"9 start app, since begin", "10 stop app 3, since stop app 2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestHostile checks that no file, however hostile, takes long or crashes: the
// time limit of go test stands for long.
func TestHostile(t *testing.T) {
	whole := func(s string, size int) string { return strings.Repeat(s, size/len(s)) }
	const mib = 1<<20 - 1000
	for name, text := range map[string]string{
		"10 MB of brackets":      whole("[", 10<<20),
		"1 MiB of brackets":      whole("[", mib),
		"1 MiB of braces":        whole("{a: ", mib),
		"1 MiB of dashes":        whole("- ", mib),
		"1 MiB of questions":     whole("? ", mib),
		"1 MiB of keys":          whole("a: 1\n", mib),
		"1 MiB of names":         whole("a", mib) + ": 1\n",
		"1 MiB of programs":      "name: x\nprograms:\n" + numberedLines("  p%d: {}\n", mib) + "steps:\n  - start: q\n",
		"1 MiB of wrong steps":   "name: x\nsteps:\n" + numberedLines("  - start: q%d\n", mib),
		"1 MiB of lines, often":  smallest + "  - repeat:\n      times: 1000\n      steps:\n        - stop: app\n          expect: {lines: [" + whole("a,", mib) + "]}\n        - start: app\n",
		"a repeat of nothing":    smallest + whole("  - repeat: {times: 1000, steps: [{repeat: {times: 1000, steps: [{}]}}]}\n", mib),
		"an unfinished quote":    "name: '" + whole("\n", mib),
		"UTF-16":                 "\xff\xfen\x00a\x00",
		"invalid UTF-8":          "name: \xff\n",
		"an escape sequence":     "name: \x1b[31m\n",
		"a lone carriage return": "name: x\rsteps: y\r",
		"line separators":        "name: x\u2028steps: y\u0085z: 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := scenario.Load("in.yaml", []byte(text), scenario.Settings{})
			if err == nil {
				t.Fatal("it was accepted")
			}
			if s := err.Error(); len(s) > 100_000 || strings.ContainsRune(s, '\x1b') {
				t.Errorf("the message has %d bytes: %.300s", len(s), s)
			}
		})
	}
}

func numberedLines(format string, size int) string {
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none.yaml"): "there is no such file",
		dir:                             "it is a directory; a scenario is a YAML file",
		write("empty.yaml", " \n"):      "the file is empty; a scenario has at least a name and steps",
		write("large.yaml", strings.Repeat("#", 2e6)): "the file is over 1 MiB; a scenario has a few thousand bytes",
		write("binary.yaml", "\x7fELF\x00"):           "the file is not text in UTF-8; a scenario is a YAML file",
		pipe:                                          "the file is empty; a scenario has at least a name and steps",
		filepath.Join(dir, "empty.yaml", "x.yaml"):    "it cannot be opened: not a directory",
	} {
		if _, err := scenario.Read(path); err == nil || err.Error() != path+": "+want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if data, err := scenario.Read(write("good.yaml", smallest)); err != nil || string(data) != smallest {
		t.Errorf("%q, %v", data, err)
	}
}

// FuzzLoad checks what Load promises of any bytes: it ends, without a panic,
// with a plan that can be sent or with problems that can be shown.
func FuzzLoad(f *testing.F) {
	for _, name := range scenarios.Order {
		data, err := scenarios.Files.ReadFile(scenarios.Path(name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, c := range badCases(f) {
		f.Add(c.input)
	}
	more, err := filepath.Glob("testdata/[gl]*/*.yaml")
	if err != nil || len(more) < 10 {
		f.Fatal(more, err)
	}
	for _, file := range more {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(thousand))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := scenario.Load("in.yaml", data, scenario.Settings{})
		if err != nil {
			ps, ok := err.(scenario.Problems)
			if !ok || len(ps) == 0 {
				t.Fatalf("%T %v", err, err)
			}
			for _, p := range ps {
				if p.Message == "" || !utf8.ValidString(p.String()) {
					t.Fatalf("%q", p.String())
				}
			}
			return
		}
		if _, err := json.Marshal(scenario.Plan{Labs: s.Labs}); err != nil {
			t.Fatal(err)
		}
	})
}
