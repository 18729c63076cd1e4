package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Machines are the prepared machines, by folder: those of all versions of labctl and
// QEMU.
func (s *Store) Machines() ([]*Machine, error) {
	entries, err := os.ReadDir(s.prepared())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list the prepared machines: %w", err)
	}
	var list []*Machine
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		m, err := openMachine(filepath.Join(s.prepared(), e.Name()), nil)
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// Clean removes all prepared machines, and what a labctl that was killed has left of
// its work. One that is being prepared at this moment stays; one that runs goes on
// running. It returns how many bytes were freed.
func (s *Store) Clean() (freed int64, err error) {
	entries, err := os.ReadDir(s.prepared())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("list the prepared machines: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), refusedPrefix) {
			errs = append(errs, os.Remove(filepath.Join(s.prepared(), e.Name())))
		}
		if !e.IsDir() {
			continue
		}
		folder := filepath.Join(s.prepared(), strings.TrimPrefix(e.Name(), makingPrefix))
		unlock, err := tryLock(folder + lockSuffix)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if unlock == nil {
			continue
		}
		path := filepath.Join(s.prepared(), e.Name())
		freed += size(path)
		errs = append(errs, os.RemoveAll(path))
		unlock()
	}
	unlock, err := tryLock(s.fetchLock())
	if unlock == nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil // nothing was ever fetched
		}
		return freed, errors.Join(append(errs, err)...)
	}
	defer unlock()
	for _, pattern := range []string{filepath.Join(s.root, ".apt-*"), filepath.Join(s.kernels(), makingPrefix+"*")} {
		left, _ := filepath.Glob(pattern) // the pattern is right
		for _, path := range left {
			freed += size(path)
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return freed, errors.Join(errs...)
}

// size is that of all files below a folder.
func size(folder string) (sum int64) {
	filepath.WalkDir(folder, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				sum += info.Size()
			}
		}
		return nil
	})
	return sum
}
