package scenario_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// TestLanguage loads the files that the language was made for, and compares
// what comes out: all cells by name, the first and the last as plans.
func TestLanguage(t *testing.T) {
	files, err := filepath.Glob("testdata/language/*.yaml")
	if err != nil || len(files) != 8 {
		t.Fatal(files, err)
	}
	schema := compiled(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := scenario.Read(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := conforms(t, schema, data); err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
			s, err := scenario.Load(file, data, scenario.Settings{})
			if err != nil {
				t.Fatal(err)
			}
			what := struct {
				Axes  []journal.Axis
				Cells []string
				First scenario.Lab
				Last  *scenario.Lab `json:",omitempty"`
			}{Axes: s.Axes, First: s.Labs[0]}
			for _, l := range s.Labs {
				what.Cells = append(what.Cells, l.Name)
			}
			if n := len(s.Labs); n > 1 {
				what.Last = &s.Labs[n-1]
			}
			got, err := json.MarshalIndent(what, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".json", string(got)+"\n")
		})
	}
}

// golden compares a text with that of a file.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
