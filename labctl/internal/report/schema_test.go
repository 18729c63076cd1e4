package report

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"os"
	"reflect"
	"regexp"
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
	names := map[string]map[string]string{}
	fields(reflect.TypeFor[Report](), names)
	for name, d := range s.Definitions {
		speak(d, name, names[name])
	}
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

// fields collects the JSON names of Go fields, by type, from t on.
func fields(t reflect.Type, all map[string]map[string]string) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		fields(t.Elem(), all)
		return
	case reflect.Struct:
	default:
		return
	}
	if all[t.Name()] != nil {
		return
	}
	all[t.Name()] = map[string]string{}
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			all[t.Name()][f.Name] = name
			fields(f.Type, all)
		}
	}
}

// word is what may be a Go identifier in a comment.
var word = regexp.MustCompile(`[A-Za-z_]\w*`)

// speak makes descriptions for readers of report.json of comments for readers of the
// Go code: JSON's names, whole sentences, and the description of a field that is told
// of together with another.
func speak(s *jsonschema.Schema, name string, names map[string]string) {
	s.Description = sentence(regexp.MustCompile(`^`+name+` (is|are) `).ReplaceAllString(s.Description, ""))
	if s.Properties == nil {
		return
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		text := word.ReplaceAllStringFunc(p.Value.Description, func(w string) string {
			if json := names[w]; json != "" && w != json {
				return "`" + json + "`"
			}
			return w
		})
		text = regexp.MustCompile("^`"+p.Key+"` (is|are) ").ReplaceAllString(text, "")
		p.Value.Description = sentence(text)
	}
	for p := s.Properties.Oldest(); p != nil; p = p.Next() {
		for q := s.Properties.Oldest(); q != nil && p.Value.Description == "" && p.Value.Ref == ""; q = q.Next() {
			if strings.Contains(q.Value.Description, "`"+p.Key+"`") {
				p.Value.Description = "See `" + q.Key + "`."
			}
		}
	}
}

// sentence begins with a capital letter, if with a word, and ends with a stop.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	if first := text[0]; first >= 'a' && first <= 'z' {
		text = string(first-'a'+'A') + text[1:]
	}
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
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

	if i := regexp.MustCompile(`"description": "[^"]*\b(nil|struct\{\}|KernelBuild|TimeLeft|ReuseAddr)\b`).FindIndex(stored); i != nil {
		t.Errorf("a description speaks Go: %s", stored[i[0]:i[1]])
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
