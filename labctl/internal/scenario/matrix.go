package scenario

import (
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"restartlab/labctl/internal/journal"
)

const (
	// maxCells is how many cells a matrix may have, and maxProduct how many
	// before exclude.
	maxCells   = 20_000
	maxProduct = 100_000
	// maxCellName is the length of a cell's name: it becomes a file's, which
	// has 255 bytes at most.
	maxCellName = 200
	// maxDecoded is how many values all cells together may have, and maxChecked
	// how often a condition may be held against a cell: both bound the time of a
	// hostile file to seconds.
	maxDecoded = 2_000_000
	maxChecked = 20_000_000
)

// matrix is a file's matrix, understood. A file without one has no axes and a
// single cell.
type matrix struct {
	axes       []axis
	cells      []cell
	conditions map[*yaml.Node]*condition // decoded ones
	at         *yaml.Node                // where it is told that it is too much
	unsound    bool                      // a problem was told: its values are not to be relied on
	unclear    bool                      // a problem was told of its cells, or of a when
	checked    int
}

// cell is one combination: the index of its value on each axis.
type cell []int

// axis is the values of one variable, each with a name.
type axis struct {
	place
	name   string
	names  []string
	values []*yaml.Node
}

func (a *axis) decode(d *decoder, n *yaml.Node, _ rules) {
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			value := aliased(item)
			if value.Kind != yaml.ScalarNode || value.Tag == "!!null" {
				d.wrong(a, item, "a list of values has texts, numbers and booleans alone; give %s a name: {name: value}", found(value))
				continue
			}
			d.axisValue(a, item, value.Value, value)
		}
	case yaml.MappingNode:
		for key, item := range d.pairs(a, n.Content) {
			d.axisValue(a, key, key.Value, aliased(item))
		}
	default:
		d.wrong(a, n, "expected a list of values or a mapping (name: value), found %s", found(n))
		return
	}
	if len(a.values) == 0 && !a.bad {
		d.wrong(a, n, "an axis needs at least one value")
	}
}

// axisValue notes a value of the axis by its name, told at the node at.
func (d *decoder) axisValue(a *axis, at *yaml.Node, name string, value *yaml.Node) {
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }):
		d.wrong(a, at, "%s cannot be the name of a value: it becomes a word of the cell's name, so it needs letters and no blanks; write name: value", shortly(name))
		return
	case strings.HasPrefix(name, "$"):
		d.wrong(a, at, "%s stands for a value of an axis, and an axis has values of its own", shortly(name))
		return
	case d.variableWithin(value, maxDepth):
		d.wrong(a, at, "the value of %s refers to an axis itself; an axis has values of its own", shortly(name))
		return
	}
	for _, other := range a.names {
		switch {
		case other == name:
			d.wrong(a, at, "the value %s stands twice on this axis", shortly(name))
			return
		case FileName(other) == FileName(name):
			d.wrong(a, at, "%s and %s are the same in the name of a file; give one another name: {name: value}", shortly(other), shortly(name))
			return
		}
	}
	a.names = append(a.names, name)
	a.values = append(a.values, value)
}

// FileName is the name of a lab as the name of a file: its words joined by +,
// and - for each character that is no letter of ASCII, digit, dot, hyphen or
// underscore. No two labs of a scenario have the same.
func FileName(lab string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '+'
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune("._-", r):
			return r
		}
		return '-'
	}, lab)
}

// aliased is the node that n stands for, if it is an alias.
func aliased(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// under is a key of a mapping and its value, nil if there is none.
func under(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key = aliased(n.Content[i]); key.Value == name {
			return key, n.Content[i+1]
		}
	}
	return nil, nil
}

// matrix understands the file's matrix, before anything else of the file.
func (d *decoder) matrix(root *yaml.Node) *matrix {
	m := &matrix{conditions: map[*yaml.Node]*condition{}, cells: []cell{{}}}
	d.vars = m
	key, n := under(root, "matrix")
	if n == nil {
		return m
	}
	m.at = key
	before := len(d.list)
	d.plain = true
	m.readAxes(d, aliased(n))
	m.unsound = len(d.list) > before
	form := new(matrixForm)
	d.into(form, key, n, rules{})
	d.plain = false
	if len(d.list) == before {
		m.lay(d, form)
	}
	if len(d.list) > before { // what the cells are is not known: one is looked at
		m.unclear = true
		m.cells = []cell{make(cell, len(m.axes))}
	}
	if m.unsound {
		m.axes, m.cells = nil, []cell{{}}
	}
	for _, name := range []string{"name", "title", "lesson"} {
		if _, v := under(root, name); v != nil && d.variableWithin(v, 2) {
			d.add(v, "the %s is the whole file's, the same in every cell", name)
		}
	}
	return m
}

// readAxes reads the axes before the rest of the matrix, whose conditions name
// them.
func (m *matrix) readAxes(d *decoder, n *yaml.Node) {
	key, node := under(n, "axes")
	if node == nil {
		return
	}
	axes := new(dict[axis])
	d.into(axes, key, node, rules{})
	if len(axes.Entries) == 0 && !axes.bad {
		d.add(key, "axes is empty; a matrix has at least one axis, such as options: {none: {}, A: {reuseaddr: true}}")
	}
	for _, e := range axes.Entries {
		switch {
		case !namePatternCompiled().MatchString(e.Key):
			d.add(e.at, "%s is not a name: %s", shortly(e.Key), nameRule)
		case e.Key == "port":
			d.add(e.at, "port is what --set port=N changes; an axis needs another name")
		}
		e.Value.name = e.Key
		m.axes = append(m.axes, *e.Value)
	}
}

// lay makes the cells: all combinations, the last axis varying fastest, without
// what exclude leaves out and include does not bring back.
func (m *matrix) lay(d *decoder, form *matrixForm) {
	product, longest := 1, len(m.axes)-1
	for _, a := range m.axes {
		if product *= len(a.names); product > maxProduct {
			d.add(form.at(), "the matrix has more than %d combinations, and a study at most %d cells", maxProduct, maxCells)
			return
		}
		most := 0
		for _, n := range a.names {
			most = max(most, len(n))
		}
		longest += most
	}
	if longest > maxCellName {
		d.add(form.at(), "a cell is named after its values, and here that takes %d characters; give the values shorter names: at most %d all together", longest, maxCellName)
		return
	}
	excluded := make([]bool, product)
	m.cells = m.cells[:0]
	all := func(yield func(int, cell) bool) {
		for i := range product {
			c, rest := make(cell, len(m.axes)), i
			for a := len(m.axes) - 1; a >= 0; a-- {
				c[a], rest = rest%len(m.axes[a].names), rest/len(m.axes[a].names)
			}
			if !yield(i, c) {
				return
			}
		}
	}
	change := func(l *list[condition], to bool, why string) {
		if l == nil {
			return
		}
		for _, when := range l.Items {
			changes := false
			for i, c := range all {
				if excluded[i] != to && m.fits(when, c) {
					excluded[i], changes = to, true
				}
			}
			if !changes && !when.bad {
				d.wrong(form, when.node, "%s", why)
			}
		}
	}
	change(form.Exclude, true, "there is no cell of these values left to leave out")
	change(form.Include, false, "include brings back what exclude left out, and all cells of these values are there already")
	for i, c := range all {
		if !excluded[i] {
			m.cells = append(m.cells, c)
		}
	}
	switch {
	case len(m.cells) > maxCells:
		d.add(form.at(), "the matrix has %d cells; a study has at most %d", len(m.cells), maxCells)
	case len(m.cells) == 0:
		d.add(form.at(), "exclude leaves no cell of the matrix")
	}
}

// index is the axis of that name, -1 if there is none.
func (m *matrix) index(name string) int {
	return slices.IndexFunc(m.axes, func(a axis) bool { return a.name == name })
}

func (m *matrix) axisNames() []string {
	names := make([]string, len(m.axes))
	for i, a := range m.axes {
		names[i] = a.name
	}
	return names
}

// names are the names of the cell's values.
func (m *matrix) names(c cell) []string {
	if len(m.axes) == 0 {
		return nil
	}
	names := make([]string, len(c))
	for i, v := range c {
		names[i] = m.axes[i].names[v]
	}
	return names
}

// narrow keeps what --set axis=name leaves: the axes as far as they are left,
// and which of the cells.
func (m *matrix) narrow(p *problems, set map[string]string) (axes []journal.Axis, keep []bool) {
	keep = make([]bool, len(m.cells))
	if m.unsound {
		return nil, keep
	}
	before := len(p.list)
	wanted := make([][]bool, len(m.axes))
	for _, name := range sorted(set) {
		if name == "port" {
			continue
		}
		i := m.index(name)
		if i < 0 {
			p.add(nil, "--set %s=%s: nothing is called %s here%s", name, set[name], shortly(name), rather(name, append(m.axisNames(), "port")))
			continue
		}
		wanted[i] = make([]bool, len(m.axes[i].names))
		for word := range strings.FieldsSeq(set[name]) {
			v := slices.Index(m.axes[i].names, word)
			if v < 0 {
				p.add(nil, "--set %s=%s: the axis %s has no value %s%s", name, word, name, shortly(word), rather(word, m.axes[i].names))
				continue
			}
			wanted[i][v] = true
		}
		if !slices.Contains(wanted[i], true) && len(p.list) == before {
			p.add(nil, "--set %s=: name a value: %s", name, oneOf(m.axes[i].names))
		}
	}
	for i, a := range m.axes {
		left := journal.Axis{Name: a.name}
		for v, name := range a.names {
			if wanted[i] == nil || wanted[i][v] {
				left.Values = append(left.Values, name)
			}
		}
		axes = append(axes, left)
	}
	for i, c := range m.cells {
		keep[i] = true
		for a, v := range c {
			keep[i] = keep[i] && (wanted[a] == nil || wanted[a][v])
		}
	}
	if !slices.Contains(keep, true) && len(p.list) == before {
		p.add(nil, "--set leaves no cell of the matrix: exclude leaves out all that have these values")
	}
	return axes, keep
}
