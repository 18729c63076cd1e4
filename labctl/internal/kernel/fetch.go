package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Fetch puts a kernel into the store: debian:VERSION by apt, from the archive that
// this machine's own apt uses; a .deb; or a vmlinuz with the folder that its modules
// are below. say is told in words what takes time.
func (s *Store) Fetch(ctx context.Context, from, modules string, say func(string)) (*Kernel, error) {
	if err := os.MkdirAll(s.kernels(), 0o777); err != nil {
		return nil, fmt.Errorf("make the folder for kernels: %w", err)
	}
	unlock, err := lock(ctx, s.fetchLock(), func() { say("another labctl fetches a kernel: waiting for it") })
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", from, err)
	}
	defer unlock()
	var k *Kernel
	version, isDebian := strings.CutPrefix(from, "debian:")
	switch {
	case isDebian && modules != "", strings.HasSuffix(from, ".deb") && modules != "":
		return nil, errors.New("a package has its modules with it: a folder of modules goes with a kernel in a file")
	case isDebian:
		k, err = s.fromDebian(ctx, version, say)
	case strings.HasSuffix(from, ".deb"):
		say("unpacking " + from)
		k, err = fromPackages(filepath.Base(from), from)
	default:
		k, err = fromFiles(from, modules)
	}
	if err != nil {
		return nil, err
	}
	return k, s.keep(k)
}

func (s *Store) fetchLock() string { return filepath.Join(s.root, "fetch"+lockSuffix) }

// FromFile makes a kernel of a vmlinuz and the folder that its modules are below,
// without keeping it.
func FromFile(image, modules string) (*Kernel, error) { return fromFiles(image, modules) }

// IsFile reports whether a kernel is named by its file, and not by its release.
func IsFile(name string) bool {
	if strings.ContainsRune(name, os.PathSeparator) {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
