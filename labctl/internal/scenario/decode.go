package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// maxDepth is how deep a file may nest. Nested repeats need about 4 levels
	// each.
	maxDepth = 100
	// maxExpanded is how many values aliases and variables may stand for, all
	// together: ten lines of aliases of aliases could stand for billions.
	maxExpanded = 10_000
	// maxProblems is how many problems are told at once.
	maxProblems = 100
)

// parse makes the tree of the file's one document. It returns nil after a
// problem: a file that is not YAML has no second one that could be trusted.
func (p *problems) parse(data []byte) *yaml.Node {
	deep := func(depth int, _ *yaml.DepthContext) error {
		if depth > maxDepth {
			return fmt.Errorf("nested deeper than %d levels", maxDepth)
		}
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(
		loaderlimits.New(loaderlimits.DepthFunc(deep), loaderlimits.AliasNone())))
	if err != nil {
		p.add(nil, "the YAML parser cannot begin: %v", err)
		return nil
	}
	var doc, second yaml.Node
	switch err = loader.Load(&doc); {
	case err == io.EOF:
		p.add(nil, "the file has only comments; a scenario has at least a name and steps")
		return nil
	case err != nil:
		p.syntax(err)
		return nil
	}
	switch err = loader.Load(&second); {
	case err == nil:
		p.add(&second, "a second document begins here; a file holds one scenario")
		return nil
	case err != io.EOF:
		p.syntax(err)
		return nil
	}
	if len(doc.Content) != 1 {
		p.add(nil, "the file has no content")
		return nil
	}
	return doc.Content[0]
}

// syntax tells what the YAML parser said. One LoadErrors wraps a LoadError, so
// the order of the questions matters.
func (p *problems) syntax(err error) {
	var many *yaml.LoadErrors
	if errors.As(err, &many) {
		for _, e := range many.Errors {
			p.syntaxAt(e)
		}
		return
	}
	var one *yaml.LoadError
	if errors.As(err, &one) {
		p.syntaxAt(one)
		return
	}
	p.add(nil, "this is not YAML: %v", err)
}

func (p *problems) syntaxAt(e *yaml.LoadError) {
	says, advice := e.Message, ""
	switch {
	case strings.Contains(says, "mapping values are not allowed"):
		advice = "; a text that holds \": \" needs quotes, and a key a line of its own"
	case strings.Contains(says, "cannot start any token"):
		advice = "; indent with spaces, not tabs, and quote a text that begins with @, ` or %"
	case strings.Contains(says, "did not find expected"):
		advice = "; is the indentation that of the lines above, and every bracket and quote closed?"
	}
	p.list = append(p.list, Problem{
		File: p.file, Line: e.Mark.Line, Column: max(1, e.Mark.Column),
		Message: "this is not YAML: " + says + advice, Source: p.source(e.Mark.Line),
	})
}

// decoder fills forms from the tree, once for each cell of the matrix, noting
// every problem on the way.
type decoder struct {
	*problems
	vars     *matrix
	plain    bool                // a variable is a text like any other here
	cell     cell                // the one that is decoded
	open     map[*yaml.Node]bool // what aliases and variables stand for, as they are followed
	expanded int                 // values read through them, in this cell
	decoded  int                 // values read, in all cells
	scanned  int                 // values looked at for variables

	reaches    map[*yaml.Node]*reach
	reachOrder []*reach
}

func newDecoder(p *problems) *decoder {
	return &decoder{problems: p, open: map[*yaml.Node]bool{}, reaches: map[*yaml.Node]*reach{}}
}

// file decodes the whole file for one cell. It is nil if aliases stood for so
// much that not all was decoded.
func (d *decoder) file(root *yaml.Node, c cell) *fileForm {
	d.cell, d.expanded = c, 0
	form := new(fileForm)
	d.into(form, nil, root, rules{})
	if d.expanded > maxExpanded {
		return nil
	}
	return form
}

// rules are what a field's tags demand of its value.
type rules struct {
	enum               []string
	min, max           *int64
	minItems, maxItems *int64
}

func rulesOf(tag reflect.StructTag) (r rules) {
	for _, rule := range strings.Split(tag.Get("jsonschema"), ",") {
		name, value, _ := strings.Cut(rule, "=")
		number := func() *int64 {
			n, _ := strconv.ParseInt(value, 10, 64)
			return &n
		}
		switch name {
		case "enum":
			r.enum = append(r.enum, value)
		case "minimum":
			r.min = number()
		case "maximum":
			r.max = number()
		case "minItems":
			r.minItems = number()
		case "maxItems":
			r.maxItems = number()
		}
	}
	return r
}

// A value is a type that decodes itself; any other form is a struct of fields.
type value interface {
	decode(d *decoder, n *yaml.Node, r rules)
}

// A shorthand is a form that may also be written as a scalar, of which scalar
// says what it is.
type shorthand interface {
	scalar() string
	fromScalar(d *decoder, n *yaml.Node)
}

// A bareVerb may also be written as the name alone of what it acts on.
type bareVerb interface{ bareField() string }

// into decodes n, found under key (nil in a list), into what v points to.
func (d *decoder) into(v any, key, n *yaml.Node, r rules) {
	p := v.(placed)
	p.put(key, n)
	switch v.(type) {
	case *matrixForm, *condition:
		if !d.plain {
			return // the matrix was understood before all else, a when with its step or row
		}
	}
	for {
		axis, isVariable := variable(n)
		if isVariable = isVariable && !d.plain; !isVariable && n.Kind != yaml.AliasNode {
			break
		}
		target := n.Alias
		if isVariable {
			if target = d.value(axis, n); target == nil {
				p.spot().bad = true
				return
			}
		}
		if d.open[target] {
			d.wrong(p, n, "the alias *%s stands inside what it stands for", n.Value)
			return
		}
		d.open[target] = true
		defer delete(d.open, target)
		if isVariable {
			target = d.placedAt(target, n)
		}
		n = target
	}
	d.decoded++
	if len(d.open) > 0 {
		if d.expanded++; d.expanded > maxExpanded {
			if p.spot().bad = true; d.expanded == maxExpanded+1 {
				d.unmuted(func() {
					d.add(p.spot().node, "aliases and variables may stand for %d values at most, all together; here it becomes more", maxExpanded)
				})
			}
			return
		}
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.wrong(p, n, "the tag %s has no meaning here; leave it out", shortly(n.Tag))
		return
	}
	if x, ok := v.(value); ok {
		x.decode(d, n, r)
		return
	}
	if e, ok := v.(*expectForm); ok && n.Kind == yaml.SequenceNode {
		if n = d.row(e, n); n == nil {
			return
		}
		if aliased(n).Kind == yaml.SequenceNode {
			d.wrong(p, n, "expected any or a mapping, found a list in a list")
			return
		}
		d.into(v, key, n, r)
		return
	}
	d.form(v, p, n)
}

// form fills a struct of fields from a mapping or from one of its short forms.
func (d *decoder) form(v any, p placed, n *yaml.Node) {
	scalar := n.Kind == yaml.ScalarNode && n.Tag != "!!null"
	if x, ok := v.(shorthand); ok && scalar {
		x.fromScalar(d, n)
		return
	}
	form := reflect.ValueOf(v).Elem()
	if x, ok := v.(bareVerb); ok && scalar {
		field := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: x.bareField(), Line: n.Line, Column: n.Column}
		d.mapping(form, p, []*yaml.Node{field, n})
		return
	}
	if n.Kind != yaml.MappingNode {
		d.wrong(p, n, "expected %s, found %s", wanted(v), found(n))
		return
	}
	if x, ok := v.(*stepForm); ok {
		d.step(x, func() { d.mapping(form, p, n.Content) })
		return
	}
	d.mapping(form, p, n.Content)
}

// mapping fills the fields of a form from keys and values in turn.
func (d *decoder) mapping(form reflect.Value, p placed, content []*yaml.Node) {
	names := fieldNames(form.Type())
	for key, n := range d.pairs(p, content) {
		i := slices.IndexFunc(names, func(f field) bool { return f.name == key.Value })
		if i < 0 {
			p.spot().bad = true
			d.add(key, "unknown key %s in %s%s", shortly(key.Value), called(form.Type(), p), rather(key.Value, namesOf(names)))
			continue
		}
		f := form.Field(names[i].index)
		f.Set(reflect.New(f.Type().Elem()))
		d.into(f.Interface(), key, n, names[i].rules)
	}
	for _, f := range names {
		if f.required && form.Field(f.index).IsNil() {
			at := p.spot().key
			if at == nil {
				at = p.spot().node
			}
			d.wrong(p, at, "the key %s is missing in %s", f.name, called(form.Type(), p))
		}
	}
}

// pairs yields a mapping's keys and values, each key once.
func (d *decoder) pairs(p placed, content []*yaml.Node) func(yield func(key, n *yaml.Node) bool) {
	return func(yield func(key, n *yaml.Node) bool) {
		first := map[string]int{}
		for i := 0; i+1 < len(content); i += 2 {
			key, n := content[i], content[i+1]
			if key = d.key(p, aliased(key)); key == nil {
				continue
			}
			switch line, twice := first[key.Value]; {
			case key.Kind != yaml.ScalarNode:
				d.wrong(p, key, "a key must be a word, not %s", found(key))
				continue
			case key.Tag == "!!merge":
				d.wrong(p, key, "<< (merge) has no meaning here; write the keys out")
				continue
			case twice:
				d.wrong(p, key, "the key %s stands twice in one mapping, first in line %d", shortly(key.Value), line)
				continue
			}
			first[key.Value] = key.Line
			if !yield(key, n) {
				return
			}
		}
	}
}

// field is a field of a form as the file names it.
type field struct {
	name     string
	index    int
	required bool
	rules    rules
}

// fieldNames are a form's fields in their order.
func fieldNames(form reflect.Type) []field {
	if fields, ok := forms()[form]; ok {
		return fields
	}
	return readFields(form)
}

// forms are the fields of all forms of the language: reading them anew for each
// value would take most of the time that a large matrix takes.
var forms = sync.OnceValue(func() map[reflect.Type][]field {
	all := map[reflect.Type][]field{}
	var read func(t reflect.Type)
	read = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
			t = t.Elem()
		}
		if _, done := all[t]; done || t.Kind() != reflect.Struct || t.PkgPath() != reflect.TypeFor[fileForm]().PkgPath() {
			return
		}
		all[t] = readFields(t)
		for i := range t.NumField() {
			read(t.Field(i).Type)
		}
	}
	read(reflect.TypeFor[fileForm]())
	return all
})

func readFields(form reflect.Type) []field {
	var fields []field
	for i := range form.NumField() {
		f := form.Field(i)
		name, rest, ok := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue
		}
		fields = append(fields, field{name, i, !(ok && rest == "omitempty"), rulesOf(f.Tag)})
	}
	return fields
}

func namesOf(fields []field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return names
}

// formName is what messages and the schema call a form: "server" for
// serverForm.
func formName(form reflect.Type) string {
	if name := strings.TrimSuffix(form.Name(), "Form"); name != "file" {
		return name
	}
	return "scenario"
}

// called is what a message calls a form: by its own name or, if it is a value
// that stands in many places, by its key.
func called(form reflect.Type, p placed) string {
	if key := p.spot().key; key != nil && !strings.HasSuffix(form.Name(), "Form") {
		return key.Value
	}
	return formName(form)
}

// wanted says what a form is written as.
func wanted(v any) string {
	mapping := "a mapping (" + strings.Join(namesOf(fieldNames(reflect.TypeOf(v).Elem())), ", ") + ")"
	switch x := v.(type) {
	case shorthand:
		return x.scalar() + " or " + mapping
	case bareVerb:
		return "the name of a " + x.bareField() + " or " + mapping
	case *hostForm, *serverForm:
		return mapping + " or {}"
	}
	return mapping
}

// found says what stands in the file instead of what was expected.
func found(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "a mapping"
	case yaml.AliasNode:
		return "the alias *" + n.Value
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return n.Value
	}
	return "the text " + shortly(n.Value)
}
