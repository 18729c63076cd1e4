package report

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"restartlab/labctl/internal/journal"
)

// generate makes the schema of report.json from the Go types; the comments on
// them become its descriptions.
func generate(t *testing.T) []byte {
	t.Helper()
	r := jsonschema.Reflector{Anonymous: true, Mapper: mapped}
	t.Chdir("../../..") // comments are found by the path of their package
	for _, dir := range []string{"./labctl/internal/report", "./labctl/internal/journal"} {
		if err := r.AddGoComments("restartlab", dir, jsonschema.WithFullComment()); err != nil {
			t.Fatal(err)
		}
	}
	for key, text := range r.CommentMap {
		r.CommentMap[key] = strings.Join(strings.Fields(text), " ")
	}
	s := r.Reflect(&Report{})
	s.Title = "report.json of labctl"
	s.Definitions["Report"].Properties.GetPair("schema").Value.Const = SchemaVersion
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// mapped describes the types that write themselves as JSON.
func mapped(t reflect.Type) *jsonschema.Schema {
	switch t {
	case reflect.TypeFor[netip.AddrPort]():
		return &jsonschema.Schema{Type: "string", Description: "IP:port, IPv6 in brackets"}
	case reflect.TypeFor[json.RawMessage]():
		return &jsonschema.Schema{Description: "as the scenario has it"}
	case reflect.TypeFor[journal.Text]():
		object := jsonschema.NewProperties()
		object.Set("en", &jsonschema.Schema{Type: "string"})
		object.Set("zh", &jsonschema.Schema{Type: "string"})
		return &jsonschema.Schema{Description: "English alone, or English and Chinese", OneOf: []*jsonschema.Schema{
			{Type: "string"}, {Type: "object", Properties: object, Required: []string{"en"}, AdditionalProperties: jsonschema.FalseSchema}}}
	case reflect.TypeFor[journal.Verdict]():
		return &jsonschema.Schema{Type: "string", Enum: []any{journal.Pass, journal.Fail, journal.Error, journal.Skipped, journal.Incomplete}}
	}
	return nil
}

func TestSchema(t *testing.T) {
	path := "schema.json"
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := generate(t)
	t.Chdir(here)
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		stored = want
	}
	if diff := cmp.Diff(string(want), string(stored)); diff != "" {
		t.Fatalf("schema.json is stale: run go test ./labctl/internal/report -update (-want +got):\n%s", diff)
	}

	doc, err := validator.UnmarshalJSON(bytes.NewReader(stored))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("report.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(r *Report) error {
		var b bytes.Buffer
		if err := JSON(&b, r); err != nil {
			t.Fatal(err)
		}
		v, err := validator.UnmarshalJSON(&b)
		if err != nil {
			t.Fatal(err)
		}
		return s.Validate(v)
	}
	for _, name := range journals {
		if err := check(build(t, name)); err != nil {
			t.Errorf("the report of %s does not conform: %v", name, err)
		}
	}
	wrong := build(t, "timewait")
	wrong.Verdict = "perhaps"
	if err := check(wrong); err == nil {
		t.Error("the schema takes a verdict that there is not")
	}
}
