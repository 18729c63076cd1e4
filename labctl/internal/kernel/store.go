package kernel

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// Store is the folder with the kernels that were fetched and the machines that were
// prepared. Any number of labctl may use it at once.
type Store struct {
	root string
}

// Open opens the user's store. Nothing is made before it is needed.
func Open() (*Store, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find the folder for kernels: %w; set XDG_CACHE_HOME to one", err)
	}
	return OpenAt(filepath.Join(cache, "restartlab")), nil
}

// OpenAt opens the store in that folder.
func OpenAt(folder string) *Store { return &Store{root: folder} }

// Kernel is a kernel with the modules that labs need.
type Kernel struct {
	Release string `json:"release"` // as uname -r says
	Source  string `json:"source"`  // where it is from, in words
	Digest  string `json:"digest"`  // "sha256:" of image and modules

	folder  string // in a store; empty for one that is not
	image   []byte
	modules []Module
}

func (s *Store) kernels() string { return filepath.Join(s.root, "kernels") }

// names of what is in a kernel's folder
const (
	aboutFile = "kernel.json"
	imageFile = "vmlinux"
)

// newKernel makes a kernel of a vmlinuz and of modules' files, by name.
func newKernel(vmlinuz []byte, files map[string][]byte, source string) (*Kernel, error) {
	image, err := unpackImage(vmlinuz)
	if err != nil {
		return nil, err
	}
	modules, err := pick(files)
	if err != nil {
		return nil, err
	}
	release := releaseOf(image)
	if release == "" {
		return nil, errors.New("it does not say which version it is")
	}
	k := &Kernel{Release: release, Source: source, image: image, modules: modules}
	k.Digest = k.digest()
	return k, nil
}

func (k *Kernel) digest() string {
	h := sha256.New()
	add := func(name string, content []byte) {
		fmt.Fprintf(h, "%s %d\n", name, len(content))
		h.Write(content)
	}
	add(imageFile, k.image)
	for _, m := range k.modules {
		add(m.Name, m.content)
	}
	return fmt.Sprintf("sha256:%x", h.Sum(nil))
}

// releaseOf is the kernel's own word for itself, from the banner that it prints:
// "Linux version 6.12.107 (...". The same words stand elsewhere with a %s.
func releaseOf(image []byte) string {
	for rest := image; ; {
		_, after, found := bytes.Cut(rest, []byte("Linux version "))
		if !found {
			return ""
		}
		release, _, _ := bytes.Cut(after[:min(len(after), 100)], []byte(" "))
		if len(release) > 0 && unicode.IsDigit(rune(release[0])) {
			return string(release)
		}
		rest = after
	}
}

// keep puts a kernel into the store, in place of one of the same release.
func (s *Store) keep(k *Kernel) error {
	if err := os.MkdirAll(s.kernels(), 0o777); err != nil {
		return fmt.Errorf("make the folder for kernels: %w", err)
	}
	making, err := os.MkdirTemp(s.kernels(), makingPrefix)
	if err != nil {
		return fmt.Errorf("keep kernel %s: %w", k.Release, err)
	}
	defer os.RemoveAll(making)
	about, err := json.MarshalIndent(k, "", "  ")
	if err != nil {
		return err
	}
	files := map[string][]byte{imageFile: k.image, aboutFile: append(about, '\n')}
	for i, m := range k.modules {
		files[fmt.Sprintf("%02d-%s.ko", i, m.Name)] = m.content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(making, name), content, 0o666); err != nil {
			return fmt.Errorf("keep kernel %s: %w", k.Release, err)
		}
	}
	if err := os.Chmod(making, 0o755); err != nil {
		return fmt.Errorf("keep kernel %s: %w", k.Release, err)
	}
	to := filepath.Join(s.kernels(), k.Release)
	if err := os.RemoveAll(to); err != nil {
		return fmt.Errorf("replace kernel %s: %w", k.Release, err)
	}
	if err := os.Rename(making, to); err != nil {
		return fmt.Errorf("keep kernel %s: %w", k.Release, err)
	}
	k.folder = to
	return nil
}

// List is the kernels in the store, oldest release first. Their images are not
// read.
func (s *Store) List() ([]*Kernel, error) {
	entries, err := os.ReadDir(s.kernels())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the kernels: %w", err)
	}
	var list []*Kernel
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		folder := filepath.Join(s.kernels(), e.Name())
		b, err := os.ReadFile(filepath.Join(folder, aboutFile))
		if err != nil {
			return nil, fmt.Errorf("list the kernels: %w", err)
		}
		k := &Kernel{folder: folder}
		if err := json.Unmarshal(b, k); err != nil {
			return nil, fmt.Errorf("%s is damaged (%w): remove the folder and fetch the kernel again", filepath.Join(folder, aboutFile), err)
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b *Kernel) int { return compareReleases(a.Release, b.Release) })
	return list, nil
}

// Find is the newest kernel in the store whose release is that, or begins with it:
// 6.12 finds 6.12.107+deb13-cloud-amd64, and 6.1 does not.
func (s *Store) Find(name string) (*Kernel, error) {
	list, err := s.List()
	if err != nil {
		return nil, err
	}
	var have []string
	for _, k := range slices.Backward(list) {
		if matches(k.Release, name) {
			return k, nil
		}
		have = append(have, k.Release)
	}
	text := "there is none yet"
	if len(have) > 0 {
		slices.Reverse(have)
		text = "there are " + strings.Join(have, ", ")
	}
	return nil, fmt.Errorf("no kernel %q here (%s): get it with labctl kernels fetch debian:%s, or name a file", name, text, name)
}

// matches reports whether a release is that, or begins with it and goes on with
// something else than a digit.
func matches(release, name string) bool {
	rest, ok := strings.CutPrefix(release, name)
	return ok && name != "" && (rest == "" || !unicode.IsDigit(rune(rest[0])))
}

// compareReleases compares numbers as numbers and all else as text.
func compareReleases(a, b string) int {
	for a != "" && b != "" {
		x, y := number(a), number(b)
		if x != "" && y != "" {
			m, _ := strconv.Atoi(x)
			n, _ := strconv.Atoi(y)
			if m != n {
				return cmp.Compare(m, n)
			}
			a, b = a[len(x):], b[len(y):]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

func number(s string) string {
	n := 0
	for n < len(s) && n < 9 && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return s[:n]
}

// Remove takes a kernel out of the store.
func (s *Store) Remove(k *Kernel) error {
	if err := os.RemoveAll(k.folder); err != nil {
		return fmt.Errorf("remove kernel %s: %w", k.Release, err)
	}
	return nil
}

// load reads image and modules of a kernel in the store, if they were not.
func (k *Kernel) load() error {
	if k.image != nil {
		return nil
	}
	image, err := os.ReadFile(filepath.Join(k.folder, imageFile))
	if err != nil {
		return fmt.Errorf("read kernel %s: %w; fetch it again", k.Release, err)
	}
	names, err := filepath.Glob(filepath.Join(k.folder, "*.ko"))
	if err != nil {
		return err
	}
	var modules []Module
	for _, n := range names { // sorted
		content, err := os.ReadFile(n)
		if err != nil {
			return fmt.Errorf("read kernel %s: %w; fetch it again", k.Release, err)
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(n), ".ko"), "-")
		modules = append(modules, Module{Name: name, content: content})
	}
	k.image, k.modules = image, modules
	if got := k.digest(); got != k.Digest {
		return fmt.Errorf("kernel %s is not what was fetched (%s, not %s): fetch it again", k.Release, got, k.Digest)
	}
	return nil
}
