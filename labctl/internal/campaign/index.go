package campaign

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"restartlab/labctl/internal/report"
)

// IndexFile lists several runs, in the folder that holds theirs.
const IndexFile = "index.html"

// newIndex makes the folder for n runs. It may exist with anything in it: each run
// takes a folder of its own below. But an index that is somebody else's stays.
func newIndex(o Options, n int) (*folder, error) {
	if o.Folder == "" {
		return newFolder(o, fmt.Sprintf("%d-scenarios", n), "", o.Now())
	}
	path := filepath.Join(o.Folder, IndexFile)
	if _, err := os.Stat(path); err == nil && !report.IsIndex(path) {
		return nil, fmt.Errorf("use %s as folder of reports: its %s is not labctl's; name another folder", o.Folder, IndexFile)
	}
	_, err := os.Stat(o.Folder)
	return &folder{path: o.Folder, made: err != nil}, nil
}

// list writes the index of the runs, if any has a report, and returns its path. It
// belongs to whom the ground belongs to, as the reports do.
func (f *folder) list(runs []report.Listed, ground ground) (string, error) {
	reported := false
	for _, r := range runs {
		reported = reported || r.Page != ""
	}
	if !reported {
		f.discard()
		return "", nil
	}
	if err := report.WriteFile(f.path, IndexFile, func(w io.Writer) error { return report.Index(w, runs) }); err != nil {
		return "", err
	}
	f.newest()
	index := filepath.Join(f.path, IndexFile)
	paths := []string{index}
	if f.made {
		paths = append(paths, f.path)
	}
	if f.own {
		paths = append(paths, filepath.Join(Reports, "latest"))
	}
	return index, ground.hand(append(paths, ground.made...))
}
