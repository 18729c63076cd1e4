package campaign

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"restartlab/labctl/internal/report"
)

// What root makes in a user's folder is the user's: all of it, and nothing that
// was another's before.
func TestReportsBelongToTheFoldersOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	const user, other = 12345, 54321
	for _, c := range []struct{ name, there, folder string }{
		{"a new folder of reports", "", ""},
		{"one that is there", "reports", ""},
		{"a folder of one's own choice", "mine", "mine/deep/er"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.MkdirAll(filepath.Join(".", c.there), 0o777); err != nil {
				t.Fatal(err)
			}
			foreign := filepath.Join(".", c.there, "foreign")
			for path, uid := range map[string]int{".": user, filepath.Join(".", c.there): user, foreign: other} {
				if path == foreign {
					if err := os.WriteFile(path, nil, 0o666); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.Lchown(path, uid, uid); err != nil {
					t.Fatal(err)
				}
			}
			base := c.folder
			if base == "" {
				base = Reports
			}
			g := findGround(base)
			f, err := newFolder(Options{Folder: c.folder}, "s", "", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
			if err != nil {
				t.Fatal(err)
			}
			j, err := f.journal()
			if err != nil {
				t.Fatal(err)
			}
			j.Close()
			f.newest()
			if err := g.give(f); err != nil {
				t.Fatal(err)
			}
			seen := 0
			err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := d.Info()
				if err != nil {
					return err
				}
				want := uint32(user)
				if strings.HasSuffix(path, "foreign") {
					want = other
				}
				if s := info.Sys().(*syscall.Stat_t); s.Uid != want || s.Gid != want {
					return fmt.Errorf("%s belongs to %d:%d, want %d", path, s.Uid, s.Gid, want)
				}
				seen++
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			if seen < 4 {
				t.Errorf("only %d files were seen", seen)
			}
		})
	}
}

// TestIndexGoesToTheOwner hands over the index of several runs and what was made for
// it, and nothing else that root has there.
func TestIndexGoesToTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes files for others")
	}
	const user = 12345
	for _, folder := range []string{"", "mine"} {
		t.Run(folder, func(t *testing.T) {
			t.Chdir(t.TempDir())
			o := Options{Folder: folder, Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }}
			want := map[string]uint32{"reports": user, "reports/2-scenarios-20260102-030405": user, "reports/2-scenarios-20260102-030405/index.html": user, "reports/latest": user}
			if folder != "" {
				want = map[string]uint32{"mine/root.txt": 0, "mine/index.html": user}
				if err := errors.Join(os.Mkdir("mine", 0o777), os.Lchown("mine", user, user), os.WriteFile("mine/root.txt", nil, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Lchown(".", user, user); err != nil {
				t.Fatal(err)
			}
			g := findGround(cmp.Or(folder, Reports))
			f, err := newIndex(o, 2)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.list([]report.Listed{{Name: "a", Page: "a/report.html"}}, g); err != nil {
				t.Fatal(err)
			}
			for path, uid := range want {
				info, err := os.Lstat(path)
				if err != nil {
					t.Error(err)
				} else if s := info.Sys().(*syscall.Stat_t); s.Uid != uid {
					t.Errorf("%s belongs to %d, want %d", path, s.Uid, uid)
				}
			}
		})
	}
}

// Root's own folders stay root's.
func TestReportsStayRoots(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the folders of a test are root's for root alone")
	}
	t.Chdir(t.TempDir())
	g := findGround(Reports)
	f, err := newFolder(Options{}, "s", "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Lchown(f.path, 7, 7); err != nil {
		t.Fatal(err)
	}
	if err := g.give(f); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(f.path)
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 7 {
		t.Errorf("it belongs to %d now", s.Uid)
	}
}
