package campaign

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// ground is the folder that was there before the run and in which it makes its
// own. Who owns that owns the reports: root, by sudo or in a container, writes into
// the folders of a user, who must be able to remove them.
type ground struct {
	uid, gid int
	made     []string // what the run makes from there to its reports, the inmost first
}

// findGround looks for the ground of reports at path. It must be called before
// anything is made.
func findGround(path string) ground {
	var g ground
	for {
		info, err := os.Stat(path)
		if err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok {
				g.uid, g.gid = int(s.Uid), int(s.Gid)
			}
			return g
		}
		g.made = append(g.made, path)
		up := filepath.Dir(path)
		if up == path {
			return g // there is not even a root: making the folder will say so
		}
		path = up
	}
}

// give hands the folder of a run, and those that were made for it, to the owner
// of the ground. What belongs to somebody else by now stays theirs. The folder
// goes last, since from then on its new owner can change what is in it.
func (g ground) give(f *folder) error {
	if !g.foreign() {
		return nil
	}
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return fmt.Errorf("give the report to user %d: %w", g.uid, err)
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, filepath.Join(f.path, e.Name()))
	}
	paths = append(paths, f.path)
	if f.own {
		paths = append(paths, filepath.Join(Reports, "latest"))
	}
	return g.hand(append(paths, g.made...))
}

// foreign reports whether the ground is of another user than what is made there.
func (g ground) foreign() bool { return os.Geteuid() == 0 && g.uid != 0 }

// hand gives paths that this run made to the owner of the ground.
func (g ground) hand(paths []string) error {
	if !g.foreign() {
		return nil
	}
	var errs []error
	for _, path := range paths {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // such as latest, where links are not possible
		}
		if err == nil {
			if s, ok := info.Sys().(*syscall.Stat_t); ok && s.Uid == 0 {
				err = os.Lchown(path, g.uid, g.gid)
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("give the report to user %d, whose folder it is in: %w", g.uid, err))
		}
	}
	return errors.Join(errs...)
}
