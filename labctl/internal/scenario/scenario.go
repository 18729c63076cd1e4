// Package scenario turns what a user writes, a YAML file, into the plan of a
// lab.
//
// It is pure: it needs no privilege, starts nothing and reads no file but the
// one that Read is given. Whatever the bytes, Load ends quickly and without a
// panic, either with a scenario in which every name is looked up, every default
// filled in and every loop unrolled, or with all of the file's problems at once,
// each with its place and, where there is one, the nearest right word.
//
// The Go types in syntax.go are the language. The decoder (decode.go) and the
// JSON Schema (schema.go) both follow from them; what a type cannot say, such as
// that a name must be declared, the compiler (compile.go and the files named
// after what they compile) checks.
package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"

	"go.yaml.in/yaml/v4"

	"restartlab/labctl/internal/journal"
)

// Scenario is a file that was understood.
type Scenario struct {
	Name   string
	Title  journal.Text
	Lesson journal.Text
	Digest string // "sha256:" and the hex digest of Text
	Text   string // the file
	// Axes are those of the matrix; none without one.
	Axes []journal.Axis
	// Labs are the matrix's cells, the last axis varying fastest; one without a
	// matrix.
	Labs []Lab
}

// Settings are what the command line changes in a scenario.
type Settings struct {
	// Set holds values by name; "port" is the only name so far.
	Set map[string]string
	// Command, if not empty, takes the place of the program named app, as an
	// exec that is ready when the file's port listens.
	Command []string
	// Joined, if not nil, are the addresses of hosts that were there before, by
	// host: they take the place of those that the file gives them, and nothing
	// may change on them.
	Joined map[string][]netip.Prefix
}

// Load understands a scenario. The file's name is used in messages only. The
// error, if any, is of type Problems.
func Load(file string, data []byte, s Settings) (*Scenario, error) {
	if why := unusable(data); why != "" {
		return nil, Problems{{File: file, Message: why}}
	}
	p := &problems{file: file, lines: splitLines(string(data)), seen: map[string]bool{}}
	if !p.printable() {
		return nil, p.list
	}
	root := p.parse(data)
	if root == nil {
		return nil, p.list
	}
	form := new(fileForm)
	d := &decoder{problems: p, open: map[*yaml.Node]bool{}}
	d.into(form, nil, root, rules{})
	if d.bomb() {
		return nil, p.sorted()
	}
	c := &compiler{problems: p, file: form, settings: s}
	c.compile()
	if len(p.list) > 0 {
		return nil, p.sorted()
	}
	return &Scenario{
		Name: c.lab.Name, Title: form.Title.value(), Lesson: form.Lesson.value(),
		Digest: digest(data), Text: string(data), Labs: []Lab{c.lab},
	}, nil
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
