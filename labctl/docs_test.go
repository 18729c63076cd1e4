//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"restartlab/labctl/internal/cli"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/scenario"
	"restartlab/scenarios"
)

// TestDocs keeps the documents true: what they print as a command, scenario,
// field, link or arrow must be one.
func TestDocs(t *testing.T) {
	t.Chdir("..")
	documents, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, file := range append(documents, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	for _, file := range slices.Sorted(maps.Keys(texts)) {
		t.Run(file, func(t *testing.T) {
			links(t, file, texts)
			for _, b := range blocks(texts[file], "sh") {
				for _, line := range commandLines(b.text) {
					if err := command(t, line); err != nil {
						t.Errorf("%s:%d: %s: %v", file, b.line, line, err)
					}
				}
			}
			for _, b := range blocks(texts[file], "yaml") {
				if !isScenario(b.text) {
					continue
				}
				if _, err := scenario.Load(fmt.Sprintf("%s (block in line %d)", file, b.line), []byte(b.text), scenario.Settings{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	t.Run("commands", func(t *testing.T) { allCommands(t, texts["README.md"]) })
	t.Run("scenarios", func(t *testing.T) { allScenarios(t, texts["README.md"]) })
	t.Run("example", func(t *testing.T) { example(t, texts["README.md"]) })
	t.Run("report's schema", func(t *testing.T) {
		s, err := report.Schema()
		if err != nil {
			t.Fatal(err)
		}
		tables(t, "docs/report.md", texts["docs/report.md"], forms(t, s, ""))
	})
	t.Run("scenario's schema", func(t *testing.T) {
		s, err := scenario.Schema()
		if err != nil {
			t.Fatal(err)
		}
		tables(t, "docs/scenarios.md", texts["docs/scenarios.md"], forms(t, s, "scenario"))
	})
	t.Run("packages", func(t *testing.T) { packages(t, texts["ARCHITECTURE.md"]) })
}

// block is a fenced block of a document.
type block struct {
	line int // of its first line
	text string
}

// blocks are the fenced blocks of a language.
func blocks(text, language string) []block {
	var found []block
	var open *block
	fence := ""
	for i, line := range strings.SplitAfter(text, "\n") {
		mark := strings.TrimSpace(line)
		switch {
		case fence == "" && strings.HasPrefix(mark, "```"):
			fence = "```"
			if mark == "```"+language {
				found = append(found, block{line: i + 2})
				open = &found[len(found)-1]
			}
		case fence != "" && mark == fence:
			fence, open = "", nil
		case open != nil:
			open.text += line
		}
	}
	return found
}

func isScenario(yaml string) bool { return regexp.MustCompile(`(?m)^name:`).MatchString(yaml) }

// commandLines are the lines of a shell block that begin a command, without
// comments, continued lines joined.
func commandLines(sh string) []string {
	var lines []string
	for _, line := range strings.Split(strings.ReplaceAll(sh, "\\\n", " "), "\n") {
		line, _, _ = strings.Cut(line, " #")
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}

// command checks a command of labctl by asking for its help with the flags set,
// since they are parsed before help is given, and any command's folders.
func command(t *testing.T, line string) error {
	words := strings.Fields(line)
	for _, w := range words {
		if strings.HasPrefix(w, "./") && w != "./..." && w != "./my-server" {
			if _, err := os.Stat(w); err != nil {
				return err
			}
		}
	}
	switch {
	case words[0] == "labctl":
		words = words[1:]
	case strings.HasPrefix(line, "go run ./labctl "):
		words = words[3:]
	default:
		return nil
	}
	if i := slices.IndexFunc(words, func(w string) bool { return strings.ContainsAny(w, "|<>;&") }); i >= 0 {
		words = words[:i] // the shell's
	}
	if i := slices.Index(words, "--"); i >= 0 {
		words = words[:i] // a command of the user's own
	}
	code, out := labctl(t, append(words, "--help")...)
	switch {
	case code != 0:
		return fmt.Errorf("exit code %d: %s", code, out)
	case len(words) > 0 && !strings.HasPrefix(words[0], "-") && !strings.Contains(out, "\n  labctl "+words[0]):
		return fmt.Errorf("there is no command %s", words[0])
	case len(words) > 1 && slices.Contains([]string{"run", "validate", "explain"}, words[0]):
		return knownScenario(words[1])
	}
	return nil
}

// knownScenario checks the name of a shipped scenario or of a file in the
// repository; my-... stands for the reader's own.
func knownScenario(name string) error {
	if strings.HasPrefix(name, "my-") {
		return nil
	}
	if scenarios.Path(name) != "" {
		return nil
	}
	_, err := os.Stat(name)
	return err
}

// labctl runs the program in this process and returns what it printed.
func labctl(t *testing.T, args ...string) (code int, out string) {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	code = cli.Main(append([]string{"labctl"}, args...), f, f)
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return code, string(b)
}

// links checks that what a document links to is there: files, and headings of
// documents.
func links(t *testing.T, file string, texts map[string]string) {
	for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(texts[file], -1) {
		target, anchor, _ := strings.Cut(m[1], "#")
		if strings.Contains(target, "://") {
			continue
		}
		to := file
		if target != "" {
			to = filepath.Join(filepath.Dir(file), target)
		}
		if _, err := os.Stat(to); err != nil {
			t.Errorf("%s: the link to %s: %v", file, m[1], err)
		}
		if anchor != "" && !slices.Contains(anchors(texts[to]), anchor) {
			t.Errorf("%s: the link to %s: %s has no such heading", file, m[1], to)
		}
	}
}

var heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)

// anchors are the names that headings get where Markdown is shown as a page.
func anchors(text string) []string {
	var names []string
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// allCommands checks that the README's table of commands is complete.
func allCommands(t *testing.T, readme string) {
	_, help := labctl(t, "--help")
	_, list, _ := strings.Cut(help, "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	for _, line := range strings.Split(list, "\n") {
		name := strings.Fields(line)[0]
		if name != "help" && !strings.Contains(readme, "\n| `labctl "+name) {
			t.Errorf("README.md: its table of commands lacks labctl %s", name)
		}
	}
}

// allScenarios checks that the README's table has every shipped scenario with
// its question, and no other.
func allScenarios(t *testing.T, readme string) {
	var want []string
	for _, name := range scenarios.Order {
		file := scenarios.Path(name)
		text, err := fs.ReadFile(scenarios.Files, file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := scenario.Load(file, text, scenario.Settings{})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, fmt.Sprintf("[`%s`](scenarios/%s) | %s", s.Name, file, s.Title.EN))
	}
	rows := regexp.MustCompile("(?m)^\\| (\\[`[a-z0-9-]+`\\]\\(scenarios/.*?\\) \\| .*?) \\|").FindAllStringSubmatch(readme, -1)
	for _, w := range want {
		if !slices.ContainsFunc(rows, func(m []string) bool { return m[1] == w }) {
			t.Errorf("README.md: its table of scenarios lacks the row: | %s | ...", w)
		}
	}
	if len(rows) > len(want) {
		t.Errorf("README.md: its table has %d scenarios; %d are shipped", len(rows), len(want))
	}
}

// example plays the README's scenario: it must do what the README says.
func example(t *testing.T, readme string) {
	found := blocks(readme, "yaml")
	found = slices.DeleteFunc(found, func(b block) bool { return !isScenario(b.text) })
	if len(found) == 0 {
		t.Fatal("README.md: there is no example of a scenario")
	}
	if _, err := sandbox.Examine(); err != nil {
		t.Skip(err)
	}
	for _, b := range found {
		file := filepath.Join(t.TempDir(), "my-scenario.yaml")
		if err := os.WriteFile(file, []byte(b.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if code, out := labctl(t, "run", file, "--report", t.TempDir()); code != 0 {
			t.Errorf("README.md:%d: exit code %d:\n%s", b.line, code, out)
		}
	}
}

// forms are the objects of a JSON Schema and their fields. root names the
// schema's own, which has none of its definitions' names.
func forms(t *testing.T, schema []byte, root string) map[string][]string {
	t.Helper()
	type object struct {
		Properties map[string]json.RawMessage
		AnyOf      []struct{ Properties map[string]json.RawMessage }
	}
	var s struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(schema, &s); err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{}
	add := func(name string, o object) {
		// What each verb may expect is a part of one form.
		name, _, _ = strings.Cut(name, "-")
		fields := slices.Collect(maps.Keys(o.Properties))
		for _, way := range o.AnyOf {
			fields = slices.AppendSeq(fields, maps.Keys(way.Properties))
		}
		if len(fields) > 0 {
			fields = append(fields, all[name]...)
			slices.Sort(fields)
			all[name] = slices.Compact(fields)
		}
	}
	if root != "" {
		add(root, s.object)
	}
	for name, o := range s.Defs {
		add(name, o)
	}
	return all
}

// tables checks a reference: each form has a section, whose heading names it
// first among its code, and in it a table with a row for each field, and none
// for anything else.
func tables(t *testing.T, file, text string, want map[string][]string) {
	got := map[string][]string{}
	code := regexp.MustCompile("`([^`]+)`")
	name := ""
	for _, line := range strings.Split(text, "\n") {
		if heading.MatchString(line) {
			name = ""
			if m := code.FindStringSubmatch(line); m != nil {
				name = m[1]
			}
		}
		if name == "" || !strings.HasPrefix(line, "| `") {
			continue
		}
		first, _, _ := strings.Cut(line[2:], " |")
		for _, m := range code.FindAllStringSubmatch(first, -1) { // a row may stand for several
			got[name] = append(got[name], m[1])
		}
	}
	for _, form := range slices.Sorted(maps.Keys(want)) {
		for _, field := range want[form] {
			if !slices.Contains(got[form], field) {
				t.Errorf("%s: the section of `%s` lacks a row for `%s`", file, form, field)
			}
		}
		for _, field := range got[form] {
			if !slices.Contains(want[form], field) {
				t.Errorf("%s: the section of `%s` has a row for `%s`, which is no field of it", file, form, field)
			}
		}
	}
}

// packages checks that ARCHITECTURE.md tells of every package, and that its
// arrows are the imports: none is missing, none is gone.
func packages(t *testing.T, text string) {
	const internal = "restartlab/labctl/internal/"
	arrows := map[string][]string{}
	for _, b := range blocks(text, "arrows") {
		for _, line := range strings.Split(strings.TrimSpace(b.text), "\n") {
			from, to, ok := strings.Cut(line, "->")
			if !ok {
				t.Fatalf("ARCHITECTURE.md:%d: not an arrow: %s", b.line, line)
			}
			arrows[strings.TrimSpace(from)] = strings.Fields(to)
		}
	}
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	there := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(p.ImportPath, internal)
		if !ok {
			continue
		}
		there[name] = true
		if !strings.Contains(text, "\n### `"+name+"`") {
			t.Errorf("ARCHITECTURE.md: it has no section about the package %s", name)
		}
		allowed, ok := arrows[name]
		if !ok {
			t.Errorf("ARCHITECTURE.md: no line of arrows begins with the package %s", name)
			continue
		}
		var imports []string
		for _, path := range p.Imports {
			if to, ok := strings.CutPrefix(path, internal); ok {
				imports = append(imports, to)
			}
			if strings.HasPrefix(path, "github.com/vishvananda/") && name != "netlab" {
				t.Errorf("%s imports %s; by ARCHITECTURE.md netlab alone may", name, path)
			}
		}
		for _, to := range imports {
			if !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s, which no arrow of ARCHITECTURE.md allows", name, to)
			}
		}
		for _, to := range allowed {
			if !slices.Contains(imports, to) {
				t.Errorf("ARCHITECTURE.md: the arrow from %s to %s is gone: nothing there imports it", name, to)
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^### `([a-z/]+)`").FindAllStringSubmatch(text, -1) {
		if !there[m[1]] {
			t.Errorf("ARCHITECTURE.md: its section about %s is about no package of labctl/internal", m[1])
		}
	}
	for from := range arrows {
		if !there[from] {
			t.Errorf("ARCHITECTURE.md: an arrow begins at %s, which is no package of labctl/internal", from)
		}
	}
}
