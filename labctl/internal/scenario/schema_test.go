package scenario_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"

	"restartlab/labctl/internal/scenario"
	"restartlab/scenarios"
)

var update = flag.Bool("update", false, "write the generated and golden files anew")

const schemaFile = "../../../scenarios/schema.json"

func TestSchemaIsCurrent(t *testing.T) {
	want, err := scenario.Schema()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), string(scenarios.Schema)); diff != "" {
		t.Errorf("scenarios/schema.json is stale; run go generate ./labctl/internal/scenario (-want +got):\n%s", diff)
	}
}

// compiled is the schema as it is now, whatever the file holds.
func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := scenario.Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("schema.json")
}

// conforms is what the schema says of a YAML file.
func conforms(t testing.TB, s *jsonschema.Schema, file []byte) error {
	t.Helper()
	var tree any
	if err := yaml.Load(file, &tree); err != nil {
		return err
	}
	b, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(value)
}

func TestShippedFilesConform(t *testing.T) {
	s := compiled(t)
	for _, name := range scenarios.Order {
		t.Run(name, func(t *testing.T) {
			file := scenarios.Path(name)
			data, err := scenarios.Files.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := conforms(t, s, data); err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
			up := strings.Repeat("../", strings.Count(file, "/"))
			if first, _, _ := strings.Cut(string(data), "\n"); first != "# yaml-language-server: $schema="+up+"schema.json" {
				t.Errorf("its first line does not name the schema: %s", first)
			}
			sc, err := scenario.Load(file, data, scenario.Settings{})
			if err != nil {
				t.Fatal(err)
			}
			if sc.Name != name {
				t.Errorf("the name is %s", sc.Name)
			}
			if !strings.HasSuffix(sc.Title.EN, "?") || sc.Title.ZH == "" {
				t.Errorf("the title %q is not a question in both languages", sc.Title)
			}
			if sc.Lesson.EN == "" || sc.Lesson.ZH == "" {
				t.Error("there is no lesson in both languages")
			}
		})
	}
}

// TestSchemaRefuses checks that an editor shows what the loader would refuse, in
// every case of testdata/bad that does not say "loader only".
func TestSchemaRefuses(t *testing.T) {
	s := compiled(t)
	for _, c := range badCases(t) {
		t.Run(c.name, func(t *testing.T) {
			err := conforms(t, s, c.input)
			if c.loaderOnly == (err != nil) {
				t.Errorf("loader only: %v; the schema says: %v", c.loaderOnly, err)
			}
		})
	}
}

func TestSchemaAcceptsGoodFiles(t *testing.T) {
	s := compiled(t)
	files, err := filepath.Glob("testdata/good/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := conforms(t, s, data); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}
