package campaign

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestJournalIsOneRuns refuses a second run the folder that a first writes to.
func TestJournalIsOneRuns(t *testing.T) {
	o := Options{Folder: t.TempDir()}
	open := func() (*os.File, error) {
		f, err := newFolder(o, "s", "", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return f.journal()
	}
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := open(); err == nil || !strings.Contains(err.Error(), "another run writes there now") {
		t.Errorf("the second run is told %v", err)
	}
	first.Close()
	again, err := open()
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}

// TestFolder keeps to folders that are empty or hold an earlier report.
func TestFolder(t *testing.T) {
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "thesis.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := newFolder(Options{Folder: foreign}, "s", "", time.Time{}); err == nil || !strings.Contains(err.Error(), "holds other files") {
		t.Errorf("a folder with other files: %v", err)
	}
	t.Chdir(t.TempDir())
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, want := range []string{"reports/s-20260102-030405", "reports/s-20260102-030405-2"} {
		f, err := newFolder(Options{}, "s", "", now)
		if err != nil || f.path != want {
			t.Fatalf("the folder is %v (%v), want %s", f, err, want)
		}
		f.newest()
		if to, err := os.Readlink("reports/latest"); err != nil || to != filepath.Base(want) {
			t.Errorf("latest points to %q (%v)", to, err)
		}
	}
	f, err := newFolder(Options{}, "s", "", now)
	if err != nil {
		t.Fatal(err)
	}
	f.discard()
	if _, err := os.Stat(f.path); !os.IsNotExist(err) {
		t.Errorf("a discarded folder stays: %v", err)
	}
}
