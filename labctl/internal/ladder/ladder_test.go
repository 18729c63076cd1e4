package ladder

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/journal"
)

var update = flag.Bool("update", false, "write testdata anew")

var names = []string{"timewait", "reuseaddr", "surviving-child", "one-host"}

// pictures are the ladders of the golden files.
func pictures(t testing.TB) map[string]*Ladder {
	all := map[string]*Ladder{}
	for _, name := range names {
		all[name+"-today"] = Build(read(t, name))
		all[name] = Build(enriched(t, name, journal.SourceKernel))
	}
	all["reuseaddr-inferred"] = Build(enriched(t, "reuseaddr", journal.SourceInferred))
	return all
}

var forms = []struct {
	suffix string
	write  func(*Ladder, io.Writer) error
}{{".svg", (*Ladder).SVG}, {".txt", (*Ladder).Text}, {".mmd", (*Ladder).Mermaid}}

func TestGolden(t *testing.T) {
	for name, l := range pictures(t) {
		for _, f := range forms {
			t.Run(name+f.suffix, func(t *testing.T) {
				var got bytes.Buffer
				if err := f.write(l, &got); err != nil {
					t.Fatal(err)
				}
				path := filepath.Join("testdata", name+f.suffix)
				if *update {
					if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), got.String()); diff != "" {
					t.Errorf("not as in %s; if it should be so, run go test -update (-want +got):\n%s", path, diff)
				}
				if f.suffix == ".svg" {
					wellFormed(t, got.Bytes())
				}
			})
		}
	}
}

func wellFormed(t *testing.T, b []byte) {
	t.Helper()
	for d := xml.NewDecoder(bytes.NewReader(b)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("the SVG is no XML: %v", err)
			return
		}
	}
}
