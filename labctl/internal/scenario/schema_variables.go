package scenario

import (
	"reflect"
	"slices"

	"github.com/invopop/jsonschema"
)

// What stands for a value of an axis, in the schema.
const (
	variableName    = "variable"
	variablePattern = `^\$[a-z][a-z0-9-]*$`
)

// variables lets a variable stand for every value and as every key, but where
// the file is the same in all cells.
func variables(s *jsonschema.Schema) {
	done := widened{}
	same := []string{formName(reflect.TypeFor[matrixForm]()), formName(reflect.TypeFor[condition]()), formName(reflect.TypeFor[axis]()), formName(reflect.TypeFor[text]())}
	for name, d := range s.Definitions {
		if !slices.Contains(same, name) {
			done.widen(d)
		}
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		if !slices.Contains([]string{"name", "title", "lesson", "matrix"}, p.Key) {
			done.widen(p.Value)
			p.Value = orVariable(p.Value)
		}
	}
	s.Definitions[variableName] = &jsonschema.Schema{Type: "string", Pattern: variablePattern, Description: "The cell's value on this axis of the matrix."}
}

// widened are the schemas that were widened: some stand in several places.
type widened map[*jsonschema.Schema]bool

func (done widened) widen(s *jsonschema.Schema) {
	if s == nil || done[s] {
		return
	}
	done[s] = true
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		done.widen(p.Value)
		if p.Key != "when" {
			p.Value = orVariable(p.Value)
		}
	}
	if s.AdditionalProperties == jsonschema.FalseSchema && s.Properties.Len() > 0 {
		s.PatternProperties = map[string]*jsonschema.Schema{variablePattern: {}}
	}
	if s.PropertyNames != nil {
		s.PropertyNames = orVariable(s.PropertyNames)
	}
	if s.Items != nil {
		done.widen(s.Items)
		s.Items = orVariable(s.Items)
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties != jsonschema.FalseSchema {
		s.AdditionalProperties = orVariable(s.AdditionalProperties)
	}
	for _, way := range slices.Concat(s.AnyOf, s.AllOf) {
		done.widen(way)
	}
	done.widen(s.Then)
}

// orVariable makes of a value's schema one of that value or a variable.
func orVariable(s *jsonschema.Schema) *jsonschema.Schema {
	value := *s
	value.Description, value.Default = "", nil
	switch {
	case s == jsonschema.FalseSchema, reflect.ValueOf(value).IsZero(), s.Type == "string" && s.Pattern == "" && s.Enum == nil:
		return s // nothing stands here, or anything, or any text
	}
	variable := &jsonschema.Schema{Ref: "#/$defs/" + variableName}
	return &jsonschema.Schema{Description: s.Description, Default: s.Default, AnyOf: []*jsonschema.Schema{&value, variable}}
}
