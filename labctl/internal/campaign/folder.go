package campaign

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// JournalFile is the journal's name in a report folder.
const JournalFile = "journal.jsonl"

// CaptureFile is the name of the segments in a report folder, for Wireshark.
const CaptureFile = "capture.pcapng"

// Reports is where report folders go by default, in the working directory.
const Reports = "reports"

// folder is a report folder.
type folder struct {
	path string
	made bool // by this run, and so its to remove
	own  bool // below Reports, where latest points to the newest
	base bool // Reports itself was made by this run
}

// newFolder makes the folder of a run. A folder that the user names may exist if
// it is empty or holds an earlier report, which is then written over.
func newFolder(o Options, scenario, below string, now time.Time) (*folder, error) {
	if o.Folder == "" {
		base := filepath.Join(Reports, scenario+"-"+now.Format("20060102-150405"))
		err := os.Mkdir(Reports, 0o777)
		made := err == nil
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the folder of reports: %w; name another with --report DIR", err)
		}
		path := base
		for n := 2; ; n++ {
			err := os.Mkdir(path, 0o777)
			if err == nil {
				return &folder{path: path, made: true, own: true, base: made}, nil
			}
			if !errors.Is(err, fs.ErrExist) {
				return nil, fmt.Errorf("make the report folder: %w; name another with --report DIR", err)
			}
			path = fmt.Sprintf("%s-%d", base, n)
		}
	}
	path := filepath.Join(o.Folder, below)
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(path, 0o777); err != nil {
			return nil, fmt.Errorf("make the report folder: %w", err)
		}
		return &folder{path: path, made: true}, nil
	case err != nil:
		return nil, fmt.Errorf("use %s as report folder: %w", path, err)
	case len(entries) > 0:
		if _, err := os.Stat(filepath.Join(path, JournalFile)); err != nil {
			return nil, fmt.Errorf("use %s as report folder: it holds other files and no earlier report; name an empty or a new folder", path)
		}
	}
	return &folder{path: path}, nil
}

// journal makes the folder's journal, empty, and keeps it from other runs as long
// as it is open.
func (f *folder) journal() (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(f.path, JournalFile), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, fmt.Errorf("make the journal: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == unix.EWOULDBLOCK:
		err = fmt.Errorf("use %s as report folder: another run writes there now", f.path)
	case err == nil:
		err = file.Truncate(0)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// discard removes what this run made, when there is nothing to report.
func (f *folder) discard() {
	os.Remove(filepath.Join(f.path, JournalFile))
	// Folders go only if they are empty.
	if f.made {
		os.Remove(f.path)
	}
	if f.base {
		os.Remove(Reports)
	}
}

// newest makes reports/latest point to the folder. It is a convenience: where
// links are not possible there is none.
func (f *folder) newest() {
	if !f.own {
		return
	}
	link := filepath.Join(Reports, "latest")
	if info, err := os.Lstat(link); err == nil && info.Mode()&fs.ModeSymlink == 0 {
		return // not ours
	}
	temp := f.path + ".latest"
	if os.Symlink(filepath.Base(f.path), temp) == nil && os.Rename(temp, link) != nil {
		os.Remove(temp)
	}
}
