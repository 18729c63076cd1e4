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
	"fmt"
	"net/netip"
	"strings"

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
	// Set holds values by name: "port", or an axis of the matrix, which is
	// narrowed to the values of these names, blanks between them.
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
	p := newProblems(file, data)
	if !p.printable() {
		return nil, p.list
	}
	root := p.parse(data)
	if root == nil {
		return nil, p.list
	}
	sc := &Scenario{Digest: digest(data), Text: string(data)}
	sc.load(p, root, s)
	if len(p.list) > 0 {
		return nil, p.sorted()
	}
	return sc, nil
}

// load compiles every cell of the file, so that it is checked whole, and keeps
// those that the settings ask for.
func (sc *Scenario) load(p *problems, root *yaml.Node, s Settings) {
	d := newDecoder(p)
	m := d.matrix(root)
	axes, keep := m.narrow(p, s.Set)
	spent := &budget{}
	for i, cell := range m.cells {
		p.begin(i+1, strings.Join(m.names(cell), " "))
		form := d.file(root, cell)
		if form == nil {
			return
		}
		c := &compiler{problems: p, file: form, settings: s, look: d.seen, spent: spent}
		c.lab.Cell = m.names(cell)
		c.compile()
		if i == 0 {
			sc.Name, sc.Title, sc.Lesson = c.lab.Name, form.Title.value(), form.Lesson.value()
		}
		if c.lab.Cell != nil {
			c.lab.Name = p.cellName
		}
		if keep[i] && len(p.list) == 0 {
			sc.Labs = append(sc.Labs, c.lab)
		}
		if why := spent.over(d, i+1, len(m.cells)); why != "" {
			p.begin(0, "")
			p.add(m.at, "%s", why)
			return
		}
	}
	p.begin(0, "")
	p.ofCells(len(m.cells))
	if !m.unsound && !m.unclear {
		d.unreached()
	}
	sc.Axes = axes
}

// budget is what all cells together have cost.
type budget struct {
	steps   int // the ones looked at
	written int // bytes
}

const (
	// maxAllSteps and maxAllWritten are maxSteps and maxWritten for all cells
	// together.
	maxAllSteps   = 200_000
	maxAllWritten = 64 << 20
)

// over says why the cells are too much, judging the rest by those so far; it is
// empty if they are not. A file of one cell has limits of its own.
func (b *budget) over(d *decoder, cells, all int) string {
	// Cells differ, so that a forecast must be far over the limit to count.
	more := func(spent, limit int) bool { return spent > limit || spent/cells*all > 2*limit }
	switch {
	case all == 1:
	case more(b.steps, maxAllSteps):
		return fmt.Sprintf("%d cells with about %d steps each are too much; all together may have %d steps", all, b.steps/cells, maxAllSteps)
	case more(b.written, maxAllWritten):
		return fmt.Sprintf("%d cells with about %d KiB of expectations each are too much; all together may have %d MiB", all, b.written/cells>>10, maxAllWritten>>20)
	case more(d.decoded, maxDecoded):
		return fmt.Sprintf("%d cells with about %d values each are too much; all together may have %d: make the cells fewer or the file shorter", all, d.decoded/cells, maxDecoded)
	case d.vars.checked > maxChecked:
		return fmt.Sprintf("the conditions (when, exclude, include) are too many for %d cells", all)
	}
	return ""
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
