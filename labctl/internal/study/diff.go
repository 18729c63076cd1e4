package study

import (
	"maps"
	"slices"
	"strconv"

	"restartlab/labctl/internal/journal"
)

// Difference is what two tables do not have alike.
type Difference struct {
	// SameScenario says whether both ran the same text with the same settings;
	// absent where one of them is a results.csv, which does not tell.
	SameScenario *bool `json:"same_scenario,omitempty"`
	// Environment are the facts of the machines that differ. A results.csv
	// tells the kernel alone.
	Environment []Fact `json:"environment"`
	// Cells are the answers that differ; Alike how many cells have none.
	Cells []Change `json:"cells"`
	Alike int      `json:"alike"`
	// OnlyA and OnlyB are cells that one of them does not have, or skipped.
	OnlyA []string `json:"only_a"`
	OnlyB []string `json:"only_b"`
}

// Fact is a fact of the environment in A and B.
type Fact struct {
	Name string `json:"name"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// Change is one answer in A and B: what the runs of the cell saw there, joined
// by " or " where they differ.
type Change struct {
	Cell string `json:"cell"`
	// Step is the step's id, or empty where the verdict differs and no answer
	// does.
	Step string `json:"step,omitempty"`
	A    string `json:"a"`
	B    string `json:"b"`
}

// Differ reports whether any answer differs.
func (d *Difference) Differ() bool { return len(d.Cells) > 0 || len(d.OnlyA) > 0 || len(d.OnlyB) > 0 }

// Diff compares two tables cell by cell. Ports and times are not compared.
func Diff(a, b *Table) *Difference {
	d := &Difference{
		Environment: []Fact{}, Cells: []Change{}, OnlyA: []string{}, OnlyB: []string{},
	}
	if a.Scenario.Digest != "" && b.Scenario.Digest != "" {
		same := a.Scenario.Digest == b.Scenario.Digest && maps.Equal(a.Scenario.Set, b.Scenario.Set)
		d.SameScenario = &same
	}
	d.Environment = append(d.Environment, facts(a, b)...)
	ra, rb := a.byName(), b.byName()
	for _, cell := range a.cells() {
		if _, ok := rb[cell]; !ok {
			d.OnlyA = append(d.OnlyA, cell)
			continue
		}
		changes := compare(cell, steps(a, b), ra[cell], rb[cell])
		if len(changes) == 0 {
			d.Alike++
		}
		d.Cells = append(d.Cells, changes...)
	}
	for _, cell := range b.cells() {
		if _, ok := ra[cell]; !ok {
			d.OnlyB = append(d.OnlyB, cell)
		}
	}
	return d
}

// byName are the rows of each cell that was played.
func (t *Table) byName() map[string][]*Row {
	rows := map[string][]*Row{}
	for i := range t.Rows {
		if r := &t.Rows[i]; r.Verdict != journal.Skipped {
			rows[r.Cell] = append(rows[r.Cell], r)
		}
	}
	return rows
}

// cells are the names of the cells that were played, each once.
func (t *Table) cells() (names []string) {
	known := map[string]bool{}
	for _, r := range t.Rows {
		if r.Verdict != journal.Skipped && !known[r.Cell] {
			known[r.Cell] = true
			names = append(names, r.Cell)
		}
	}
	return names
}

// steps are the ids of both tables' steps, A's first.
func steps(a, b *Table) (ids []string) {
	for _, s := range slices.Concat(a.Steps, b.Steps) {
		if !slices.Contains(ids, s.ID) {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func compare(cell string, ids []string, a, b []*Row) (changes []Change) {
	answers := func(rows []*Row, of func(*Row) string) string {
		var texts []string
		for _, r := range rows {
			if text := of(r); !slices.Contains(texts, text) {
				texts = append(texts, text)
			}
		}
		slices.Sort(texts)
		text := texts[0]
		for _, more := range texts[1:] {
			text += " or " + more
		}
		return text
	}
	for _, id := range ids {
		of := func(r *Row) string {
			if a := r.Answer(id); a != nil {
				return a.String()
			}
			return "not reached"
		}
		if x, y := answers(a, of), answers(b, of); x != y {
			changes = append(changes, Change{cell, id, x, y})
		}
	}
	if len(changes) > 0 {
		return changes
	}
	verdict := func(r *Row) string { return string(r.Verdict) }
	if x, y := answers(a, verdict), answers(b, verdict); x != y {
		changes = append(changes, Change{cell, "", x, y})
	}
	return changes
}

// facts are those of the environment that differ. Of several runs each is
// compared with the one at the same place.
func facts(a, b *Table) (list []Fact) {
	add := func(name, x, y string) {
		if x != y {
			list = append(list, Fact{name, x, y})
		}
	}
	for i := range min(len(a.Runs), len(b.Runs)) {
		x, y := &a.Runs[i], &b.Runs[i]
		add("kernel", x.Machine.Kernel, y.Machine.Kernel)
		if x.Labctl == "" || y.Labctl == "" {
			continue
		}
		add("kernel build", x.Machine.KernelBuild, y.Machine.KernelBuild)
		add("architecture", x.Machine.Arch, y.Machine.Arch)
		add("HZ", known(x.Machine.HZ), known(y.Machine.HZ))
		add("CPUs", number(x.Machine.CPUs), number(y.Machine.CPUs))
		add("system", x.Machine.OS, y.Machine.OS)
		add("labctl", x.Labctl, y.Labctl)
		add("rootless", strconv.FormatBool(x.Rootless), strconv.FormatBool(y.Rootless))
		for _, host := range sorted(x.Sysctls, y.Sysctls) {
			for _, name := range sorted(x.Sysctls[host], y.Sysctls[host]) {
				add(host+": "+name, orNone(x.Sysctls[host], name), orNone(y.Sysctls[host], name))
			}
		}
	}
	return list
}

func known(n int) string {
	if n == 0 {
		return "not known"
	}
	return number(n)
}

func orNone(m map[string]string, name string) string {
	if v, ok := m[name]; ok {
		return v
	}
	return "none"
}

// sorted are the keys of both.
func sorted[V any](a, b map[string]V) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}

// What names what differs: the step, or the verdict.
func (c *Change) What() string {
	if c.Step == "" {
		return "verdict"
	}
	return c.Step
}
