package scenario

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// condition is what a when, exclude or include demands of a cell: all of its
// clauses.
type condition struct {
	place
	clauses []clause
}

// clause demands that the cell's value on an axis is one of some, or has the
// same name as its value on another axis.
type clause struct {
	axis  int
	among []bool // by value; nil if same counts
	same  int
}

func (x *condition) decode(d *decoder, n *yaml.Node, _ rules) {
	if n.Kind != yaml.MappingNode {
		d.wrong(x, n, "expected a mapping (axis: name, a list of names, or $other), found %s", found(n))
		return
	}
	if len(n.Content) == 0 {
		d.wrong(x, n, "this fits every cell, so it says nothing; name an axis and its value")
		return
	}
	for key, item := range d.pairs(x, n.Content) {
		a := d.vars.index(key.Value)
		switch {
		case d.vars.unsound:
			x.bad = true
		case a >= 0:
			d.clause(x, a, item)
		case strings.HasPrefix(key.Value, "$"):
			d.wrong(x, key, "an axis is named here without $: %s", key.Value[1:])
		case len(d.vars.axes) == 0:
			d.wrong(x, key, "there is no axis %s; the file has no matrix", shortly(key.Value))
		default:
			d.wrong(x, key, "there is no axis %s%s", shortly(key.Value), rather(key.Value, d.vars.axisNames()))
		}
	}
}

// clause reads what a condition says of one axis.
func (d *decoder) clause(x *condition, a int, n *yaml.Node) {
	m := d.vars
	n = aliased(n)
	if name, ok := variable(n); ok {
		b := m.index(name)
		switch {
		case b < 0:
			d.wrong(x, n, "there is no axis %s%s", shortly(name), rather(name, m.axisNames()))
		case a == b:
			d.wrong(x, n, "a value is always the same as itself")
		default:
			x.clauses = append(x.clauses, clause{axis: a, same: b})
		}
		return
	}
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	c := clause{axis: a, among: make([]bool, len(m.axes[a].names))}
	for _, item := range items {
		item = aliased(item)
		v := slices.Index(m.axes[a].names, item.Value)
		switch {
		case item.Kind != yaml.ScalarNode || item.Tag == "!!null":
			d.wrong(x, item, "expected the name of a value of %s, found %s", m.axes[a].name, found(item))
		case v < 0:
			d.wrong(x, item, "the axis %s has no value %s%s", m.axes[a].name, shortly(item.Value), rather(item.Value, m.axes[a].names))
		default:
			c.among[v] = true
		}
	}
	if len(items) == 0 {
		d.wrong(x, n, "an empty list fits no cell")
	}
	x.clauses = append(x.clauses, c)
}

// fits reports whether the condition holds of the cell.
func (m *matrix) fits(x *condition, c cell) bool {
	m.checked += 1 + len(x.clauses)
	for _, k := range x.clauses {
		if k.among != nil && !k.among[c[k.axis]] {
			return false
		}
		if k.among == nil && m.axes[k.axis].names[c[k.axis]] != m.axes[k.same].names[c[k.same]] {
			return false
		}
	}
	return true
}

// when reports whether the when of a step or row fits the cell that is decoded;
// n is nil if there is none. An unsound condition fits, so that what stands
// beside it is looked at.
func (d *decoder) when(n *yaml.Node) bool {
	if n == nil {
		return true
	}
	x, known := d.vars.conditions[n]
	if !known {
		x = new(condition)
		plain := d.plain
		d.plain = true
		d.unmuted(func() { d.into(x, nil, n, rules{}) })
		d.plain = plain
		d.vars.conditions[n] = x
		d.vars.unclear = d.vars.unclear || x.bad
	}
	return x.bad || d.vars.fits(x, d.cell)
}

// reach is what is known of a step with a when, or of a row of expectations,
// after some cells.
type reach struct {
	node *yaml.Node
	row  bool
	fits bool // its when fits a cell
	met  bool // and the step is played, or the row counts, in one
}

func (d *decoder) reached(n *yaml.Node, row, fits, met bool) {
	r := d.reaches[n]
	if r == nil {
		r = &reach{node: n, row: row}
		d.reaches[n] = r
		d.reachOrder = append(d.reachOrder, r)
	}
	r.fits = r.fits || fits
	r.met = r.met || met
}

// step decodes a step. One whose when does not fit the cell is decoded too,
// since it counts for the numbers of ids, but its problems are none.
func (d *decoder) step(f *stepForm, decode func()) {
	if _, n := under(aliased(f.node), "when"); n != nil {
		fits := d.when(n)
		if d.muted == 0 {
			d.reached(n, false, fits, fits)
		}
		f.skipped = !fits
	}
	if f.skipped {
		d.muted++
		defer func() { d.muted-- }()
	}
	decode()
}

// row is the first of several rows of expectations whose when fits the cell. It
// is nil if there is none.
func (d *decoder) row(e *expectForm, n *yaml.Node) (first *yaml.Node) {
	if len(n.Content) == 0 {
		d.wrong(e, n, "the list is empty; it needs at least 1 row")
		return nil
	}
	for _, row := range n.Content {
		_, when := under(aliased(row), "when")
		fits := d.when(when)
		if d.muted == 0 {
			d.reached(row, true, fits, fits && first == nil)
		}
		if fits && first == nil {
			first = row
		}
	}
	if first == nil {
		d.wrong(e, n, "no row of this list fits; its last row may have no when, or be the word any")
	}
	return first
}

// unreached tells of the steps and rows that no cell reaches.
func (d *decoder) unreached() {
	for _, r := range d.reachOrder {
		switch {
		case r.met:
		case !r.row:
			d.add(r.node, "no cell fits this when, so the step is never played")
		case r.fits:
			d.add(r.node, "no cell reaches this row: in each that fits, a row before it counts")
		default:
			d.add(r.node, "no cell reaches this row: none fits its when")
		}
	}
}
