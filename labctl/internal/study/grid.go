package study

import (
	"slices"
	"strings"

	"restartlab/labctl/internal/journal"
)

// Grid is a table of answers to one step over two axes, with the other axes
// fixed. Without a second axis it has one column.
type Grid struct {
	// Fixed are the axes that do not vary in this grid, and their values.
	Fixed []Value
	// Rows and Columns are the axes; their values name what is at the edges.
	Rows, Columns journal.Axis
	Cells         [][]Cell // by row, then column
}

// Value is a value on an axis.
type Value struct{ Axis, Value string }

// Cell is one place of a grid: the rows of the table that stand there. There
// are none where the matrix excludes the cell, several if it ran several times.
type Cell struct{ Rows []*Row }

// Grids lay out the table: the axis that varies fastest goes across, the one
// with the most values of the others goes down, and every combination of the
// rest has a grid of its own. Kernels are the first axis if there are several.
// Rows with a value that no axis has are left out; a table without axes has no
// grids.
func (t *Table) Grids() []Grid {
	axes := t.varying()
	if len(axes) == 0 {
		return nil
	}
	across := len(axes) - 1
	down := -1
	for i := range axes[:across] {
		if down < 0 || len(axes[i].Values) > len(axes[down].Values) {
			down = i
		}
	}
	if down < 0 { // one axis: its values are the rows
		down, across = across, -1
	}
	one := journal.Axis{Values: []string{""}}
	grids := map[string]*Grid{}
	var order []string
	for i := range t.Rows {
		row := &t.Rows[i]
		values := t.at(row, axes)
		if values == nil {
			continue
		}
		var fixed []Value
		var key strings.Builder
		for j, a := range axes {
			if j != down && j != across {
				fixed = append(fixed, Value{a.Name, values[j]})
				key.WriteString(values[j] + "\x00")
			}
		}
		g := grids[key.String()]
		if g == nil {
			g = &Grid{Fixed: fixed, Rows: axes[down], Columns: one}
			if across >= 0 {
				g.Columns = axes[across]
			}
			g.Cells = make([][]Cell, len(g.Rows.Values))
			for j := range g.Cells {
				g.Cells[j] = make([]Cell, len(g.Columns.Values))
			}
			grids[key.String()] = g
			order = append(order, key.String())
		}
		column := 0
		if across >= 0 {
			column = slices.Index(axes[across].Values, values[across])
		}
		cell := &g.Cells[slices.Index(axes[down].Values, values[down])][column]
		cell.Rows = append(cell.Rows, row)
	}
	all := make([]Grid, len(order))
	for i, key := range order {
		all[i] = *grids[key]
	}
	return all
}

// KernelAxis is the name of the axis that several kernels make.
const KernelAxis = "kernel"

// varying are the axes with more than one value, kernels first.
func (t *Table) varying() (axes []journal.Axis) {
	if kernels := t.Kernels(); len(kernels) > 1 {
		axes = append(axes, journal.Axis{Name: KernelAxis, Values: kernels})
	}
	for _, a := range t.Axes {
		if len(a.Values) > 1 {
			axes = append(axes, a)
		}
	}
	return axes
}

// Kernels are the kernels of the rows, in the order of the journals.
func (t *Table) Kernels() (kernels []string) {
	for _, r := range t.Rows {
		if !slices.Contains(kernels, r.Kernel) {
			kernels = append(kernels, r.Kernel)
		}
	}
	return kernels
}

// at is where a row stands on the axes; nil if it has no place there.
func (t *Table) at(r *Row, axes []journal.Axis) []string {
	values := make([]string, len(axes))
	for i, a := range axes {
		j := slices.IndexFunc(t.Axes, func(o journal.Axis) bool { return o.Name == a.Name })
		switch {
		case j >= 0 && j < len(r.Values):
			values[i] = r.Values[j]
		case j < 0 && a.Name == KernelAxis:
			values[i] = r.Kernel
		}
		if !slices.Contains(a.Values, values[i]) {
			return nil
		}
	}
	return values
}

// Telling is the step whose answers tell the most: the last one whose answers
// differ between rows, or else the last one at all. Nil if no step ended.
func (t *Table) Telling() *Step {
	for i := len(t.Steps) - 1; i >= 0; i-- {
		first, seen := "", false
		for j := range t.Rows {
			a := t.Rows[j].Answer(t.Steps[i].ID)
			if a == nil {
				continue
			}
			if seen && a.String() != first {
				return &t.Steps[i]
			}
			first, seen = a.String(), true
		}
	}
	if len(t.Steps) == 0 {
		return nil
	}
	return &t.Steps[len(t.Steps)-1]
}
