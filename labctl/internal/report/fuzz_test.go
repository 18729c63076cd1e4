package report

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"restartlab/labctl/internal/journal"
)

// FuzzBuild renders whatever can be read as a journal: damaged, cut short or
// made up, it must end without a panic.
func FuzzBuild(f *testing.F) {
	for _, name := range journals {
		b, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		events, _ := journal.ReadAll(bytes.NewReader(b))
		if len(events) == 0 {
			return
		}
		r, err := Build(events)
		if err != nil {
			return
		}
		for _, form := range formats {
			if err := form.write(io.Discard, r); err != nil {
				t.Errorf("%s: %v", form.suffix, err)
			}
		}
	})
}
