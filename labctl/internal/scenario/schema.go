package scenario

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
)

//go:generate go test -run TestSchemaIsCurrent -update .

// Schema is the JSON Schema of the scenario language, generated from the forms
// in syntax.go. It says what a file may look like; what depends on another part
// of the file, such as a name that must be declared, Load alone can say.
//
// Its step is one object with the verbs as plain properties, since editors offer
// no completion inside a oneOf of whole objects.
func Schema() ([]byte, error) {
	r := &jsonschema.Reflector{Anonymous: true, ExpandedStruct: true, Namer: formName}
	s := r.Reflect(fileForm{})
	s.Title = "A scenario of labctl"
	s.Definitions["host"].Properties.Value("sysctls").PropertyNames = pattern(`^net\.`)
	for _, names := range []string{"hosts", "programs", "sockets"} {
		s.Properties.Value(names).PropertyNames = pattern(namePattern)
	}
	most := uint64(len(defaultHosts))
	s.Properties.Value("hosts").MaxProperties = &most
	s.Properties.Value("hosts").MinProperties = atLeastOne()
	s.Definitions["matrix"].Properties.Value("axes").PropertyNames = pattern(namePattern)
	s.Definitions["matrix"].Properties.Value("axes").MinProperties = atLeastOne()
	s.Definitions["program"].AllOf = notBoth("server", "client", "exec")
	s.Definitions["socket"].AllOf = append(notBoth("program", "host"), notBoth("program", "uid")...)
	s.Definitions["setsockopt"].Properties.Value("options").MinProperties = atLeastOne()
	s.Definitions["ready"].OneOf = required("port", "line")
	s.Definitions["sysctl"].Properties.Value("values").MinProperties = atLeastOne()
	s.Definitions["amount"].AnyOf[1].MinProperties = atLeastOne()
	s.Definitions["took"].AnyOf[1].AnyOf = required("min", "max")
	waitSchema(s.Definitions)
	stepSchema(s.Definitions)
	variables(s)

	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(s)
	return b.Bytes(), err
}

func pattern(p string) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: p} }

func atLeastOne() *uint64 {
	one := uint64(1)
	return &one
}

// notBoth are schemas that forbid each pair of the names.
func notBoth(names ...string) (s []*jsonschema.Schema) {
	for i, a := range names {
		for _, b := range names[i+1:] {
			s = append(s, &jsonschema.Schema{Not: &jsonschema.Schema{Required: []string{a, b}}})
		}
	}
	return s
}

// required is one schema for each name, which demands nothing but that name.
func required(names ...string) (s []*jsonschema.Schema) {
	for _, n := range names {
		s = append(s, &jsonschema.Schema{Required: []string{n}})
	}
	return s
}

// waitSchema says what a wait for a host and one for a program may see.
func waitSchema(defs jsonschema.Definitions) {
	until := func(names []string) *jsonschema.Schema {
		only := jsonschema.NewProperties()
		only.Set("until", &jsonschema.Schema{PropertyNames: &jsonschema.Schema{Enum: words(names)}})
		return &jsonschema.Schema{Properties: only, Required: []string{"until"}}
	}
	wait := defs["wait"]
	wait.OneOf = required("until", "for")
	wait.AllOf = notBoth("host", "program", "socket")
	wait.DependentSchemas = map[string]*jsonschema.Schema{"host": until(ofTable), "program": until(ofProgram), "socket": until(ofQueue)}
	defs["until"].MinProperties = atLeastOne()
}

// stepSchema demands exactly one verb of a step, and gives each verb the expect
// that it can have.
func stepSchema(defs jsonschema.Definitions) {
	step, expect := defs["step"], defs["expect"]
	delete(defs, "expect")
	named := map[string]string{} // verbs that can expect the same share a definition
	step.OneOf = required(verbNames()...)
	step.Properties.Set("expect", &jsonschema.Schema{Description: step.Properties.Value("expect").Description})
	for _, verb := range verbNames() {
		then := jsonschema.NewProperties()
		if verb == verbRepeat {
			for _, own := range []string{"id", "title", "within", "expect"} {
				then.Set(own, jsonschema.FalseSchema)
			}
		} else {
			fields := expectable(verb)
			name, known := named[strings.Join(fields, " ")]
			if !known {
				name = "expect-" + verb
				named[strings.Join(fields, " ")] = name
				expectSchema(defs, name, expect, fields)
			}
			then.Set("expect", &jsonschema.Schema{Ref: "#/$defs/" + name})
		}
		step.AllOf = append(step.AllOf, &jsonschema.Schema{
			If:   &jsonschema.Schema{Required: []string{verb}},
			Then: &jsonschema.Schema{Properties: then},
		})
	}
}

// expectSchema defines an expect with some of its fields: one, or a list of rows
// with a when.
func expectSchema(defs jsonschema.Definitions, name string, whole *jsonschema.Schema, fields []string) {
	word, object := whole.AnyOf[0], *whole.AnyOf[1]
	object.Properties = jsonschema.NewProperties()
	for p := whole.AnyOf[1].Properties.Oldest(); p != nil; p = p.Next() {
		if p.Key == "when" || slices.Contains(fields, p.Key) {
			object.Properties.Set(p.Key, p.Value)
		}
	}
	object.MinProperties = atLeastOne()
	row := name + "-row"
	defs[row] = &object
	one := []*jsonschema.Schema{word, {Ref: "#/$defs/" + row}}
	rows := &jsonschema.Schema{Type: "array", MinItems: atLeastOne(), Items: &jsonschema.Schema{AnyOf: one}}
	defs[name] = &jsonschema.Schema{AnyOf: append(one, rows)}
}

// expectable are the fields that the expect of a verb can have, whatever the
// kind of the program.
func expectable(verb string) []string {
	switch verb {
	case VerbStart, VerbRun:
		return append(slices.Clone(ofServer), ofClient...)
	case VerbStop:
		return ofExec
	case VerbNetstat:
		return ofTable
	case VerbWait, VerbHold, VerbDrop:
		return ofTime
	case VerbBind:
		return ofBind
	case VerbListen:
		return ofListen
	case VerbConnect:
		return ofConnect
	case VerbRecv:
		return ofRecv
	case VerbAccept, VerbSend, VerbShutdown, VerbClose, VerbSetsockopt, VerbInherit, VerbPass, VerbDestroy:
		return ofSocket
	}
	return ofCall
}

func words(list []string) []any {
	values := make([]any, len(list))
	for i, w := range list {
		values[i] = w
	}
	return values
}

// What follows tells the schema's generator how each value is written.

func (list[T]) JSONSchemaAlias() any { return []T(nil) }
func (dict[T]) JSONSchemaAlias() any { return map[string]T(nil) }
func (str) JSONSchemaAlias() any     { return "" }
func (boolean) JSONSchemaAlias() any { return false }
func (integer) JSONSchemaAlias() any { return 0 }

func (name) JSONSchema() *jsonschema.Schema     { return pattern(namePattern) }
func (duration) JSONSchema() *jsonschema.Schema { return pattern(durationPattern) }

func (outcome) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Enum: words(outcomes)}
}

func (signalName) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{Type: "string", Enum: words(signals)}
}

func (scalar) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, {Type: "number"}, {Type: "boolean"}}}
}

func (axis) JSONSchema() *jsonschema.Schema {
	scalars := &jsonschema.Schema{Type: "array", MinItems: atLeastOne(), UniqueItems: true, Items: scalar{}.JSONSchema()}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{scalars, {Type: "object", MinProperties: atLeastOne()}}}
}

func (condition) JSONSchema() *jsonschema.Schema {
	each := scalar{}.JSONSchema()
	each.AnyOf = append(each.AnyOf, &jsonschema.Schema{Type: "array", MinItems: atLeastOne(), Items: scalar{}.JSONSchema()})
	return &jsonschema.Schema{Type: "object", MinProperties: atLeastOne(), AdditionalProperties: jsonschema.FalseSchema,
		PatternProperties: map[string]*jsonschema.Schema{namePattern: each}}
}

func (states) JSONSchema() *jsonschema.Schema  { return tallySchema(tcpStates) }
func (holders) JSONSchema() *jsonschema.Schema { return tallySchema(holderStates) }

func tallySchema(states []string) *jsonschema.Schema {
	each := jsonschema.NewProperties()
	for _, s := range states {
		each.Set(s, &jsonschema.Schema{Ref: "#/$defs/" + formName(reflect.TypeFor[amount]())})
	}
	return &jsonschema.Schema{Type: "object", Properties: each, AdditionalProperties: jsonschema.FalseSchema}
}

func (startForm) JSONSchemaExtend(s *jsonschema.Schema)    { orElse(s, pattern(namePattern)) }
func (runForm) JSONSchemaExtend(s *jsonschema.Schema)      { orElse(s, pattern(namePattern)) }
func (stopForm) JSONSchemaExtend(s *jsonschema.Schema)     { orElse(s, pattern(namePattern)) }
func (netstatForm) JSONSchemaExtend(s *jsonschema.Schema)  { orElse(s, pattern(namePattern)) }
func (bindForm) JSONSchemaExtend(s *jsonschema.Schema)     { orElse(s, pattern(namePattern)) }
func (listenForm) JSONSchemaExtend(s *jsonschema.Schema)   { orElse(s, pattern(namePattern)) }
func (recvForm) JSONSchemaExtend(s *jsonschema.Schema)     { orElse(s, pattern(namePattern)) }
func (shutdownForm) JSONSchemaExtend(s *jsonschema.Schema) { orElse(s, pattern(namePattern)) }
func (closeForm) JSONSchemaExtend(s *jsonschema.Schema)    { orElse(s, pattern(namePattern)) }
func (destroyForm) JSONSchemaExtend(s *jsonschema.Schema)  { orElse(s, pattern(namePattern)) }
func (dropForm) JSONSchemaExtend(s *jsonschema.Schema)     { orElse(s, pattern(namePattern)) }
func (text) JSONSchemaExtend(s *jsonschema.Schema)         { orElse(s, &jsonschema.Schema{Type: "string"}) }
func (expectForm) JSONSchemaExtend(s *jsonschema.Schema)   { orElse(s, &jsonschema.Schema{Const: "any"}) }
func (took) JSONSchemaExtend(s *jsonschema.Schema)         { orElse(s, pattern(durationPattern)) }

func (amount) JSONSchemaExtend(s *jsonschema.Schema) {
	orElse(s, &jsonschema.Schema{Type: "integer", Minimum: "0"})
}

// orElse makes of a mapping's schema one of a scalar or that mapping.
func orElse(mapping, scalar *jsonschema.Schema) {
	whole := *mapping
	*mapping = jsonschema.Schema{AnyOf: []*jsonschema.Schema{scalar, &whole}}
}
