package scenario

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// variable is the axis that n stands for a value of: a plain $axis, all of the
// value. In quotes it is a text.
func variable(n *yaml.Node) (axis string, ok bool) {
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	if n.Kind != yaml.ScalarNode || !strings.HasPrefix(n.Value, "$") || n.Style&quoted != 0 {
		return "", false
	}
	axis = n.Value[1:]
	return axis, namePatternCompiled().MatchString(axis)
}

// variableWithin reports whether a variable stands in the tree, as deep as depth.
func (d *decoder) variableWithin(n *yaml.Node, depth int) bool {
	if depth == 0 || d.scanned > maxDecoded {
		return false
	}
	d.scanned++
	n = aliased(n)
	if _, ok := variable(n); ok {
		return true
	}
	for _, item := range n.Content {
		if d.variableWithin(item, depth-1) {
			return true
		}
	}
	return false
}

// value is what the variable axis, standing at n, stands for in the cell. It is
// nil if nothing can be said of it, after a problem.
func (d *decoder) value(axis string, n *yaml.Node) *yaml.Node {
	m := d.vars
	i := m.index(axis)
	switch {
	case m.unsound:
		return nil
	case i < 0 && len(m.axes) == 0:
		d.add(n, "there is no axis %s, since the file has no matrix; a text that begins with $ stands in quotes", shortly(axis))
		return nil
	case i < 0:
		d.add(n, "there is no axis %s%s", shortly(axis), rather(axis, m.axisNames()))
		return nil
	}
	return m.axes[i].values[d.cell[i]]
}

// placedAt is a copy of the value that a variable at n stands for, so that a
// problem of it, told where the value stands, says where it is used.
func (d *decoder) placedAt(value, n *yaml.Node) *yaml.Node {
	at := *value
	d.used[&at] = fmt.Sprintf(" (%s in line %d)", n.Value, n.Line)
	return &at
}

// key is the key that n stands for: itself, or a value of an axis.
func (d *decoder) key(p placed, n *yaml.Node) *yaml.Node {
	axis, ok := variable(n)
	if !ok || d.plain {
		return n
	}
	v := d.value(axis, n)
	switch {
	case v == nil:
		p.spot().bad = true
		return nil
	case v.Kind != yaml.ScalarNode:
		d.wrong(p, n, "%s stands for %s, and a key must be a word", n.Value, found(v))
		return nil
	}
	return d.placedAt(v, n)
}

// seen is n as the cell has it: aliases and variables replaced. It is for trees
// that were decoded without a problem.
func (d *decoder) seen(n *yaml.Node) *yaml.Node {
	n = aliased(n)
	if axis, ok := variable(n); ok && !d.plain {
		if v := d.value(axis, n); v != nil {
			return aliased(v)
		}
	}
	return n
}
