package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/u-root/u-root/pkg/cpio"

	"restartlab/labctl/internal/guest"
)

// initramfs is the guest's file system: labctl as /init, with the libraries that
// it needs unless it is linked statically, and the modules.
func initramfs(program []byte, modules []Module) ([]byte, error) {
	files := map[string][]byte{}
	if err := addLibraries(files, program); err != nil {
		return nil, err
	}
	for i, m := range modules {
		files[fmt.Sprintf("%s/%02d-%s.ko", guest.Modules, i, m.Name)] = m.content
	}
	records := []cpio.Record{cpio.StaticFile("init", string(slim(program)), 0o755)}
	made := map[string]bool{}
	var dirs func(string)
	dirs = func(d string) {
		if d != "." && d != "/" && !made[d] {
			dirs(filepath.Dir(d))
			made[d] = true
			records = append(records, cpio.Directory(d, 0o755))
		}
	}
	for _, d := range []string{"proc", "sys", "dev", "tmp", "root"} {
		dirs(d)
	}
	records = append(records, cpio.CharDev("dev/console", 0o600, 5, 1), cpio.CharDev("dev/null", 0o666, 1, 3))
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := name[1:]
		dirs(filepath.Dir(path))
		records = append(records, cpio.StaticFile(path, string(files[name]), 0o755))
	}
	var b bytes.Buffer
	w := cpio.Newc.Writer(&b)
	if err := cpio.WriteRecords(w, records); err != nil {
		return nil, fmt.Errorf("pack the guest's files: %w", err)
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, fmt.Errorf("pack the guest's files: %w", err)
	}
	return b.Bytes(), nil
}

// slim cuts off what stands behind the last byte that is loaded: the debugging
// information and the table of sections, which nobody reads there.
func slim(program []byte) []byte {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return program
	}
	var end uint64
	for _, p := range f.Progs {
		end = max(end, p.Off+p.Filesz)
	}
	if end == 0 || end > uint64(len(program)) {
		return program
	}
	b := slices.Clone(program[:end])
	const sectionTable, sectionCount = 0x28, 0x3c // e_shoff; e_shnum and e_shstrndx
	clear(b[sectionTable : sectionTable+8])
	clear(b[sectionCount : sectionCount+4])
	return b
}

// libraryFolders are where the dynamic linkers of the usual systems look.
var libraryFolders = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// addLibraries adds the dynamic linker and the libraries that a program asks for,
// and those that they ask for.
func addLibraries(files map[string][]byte, program []byte) error {
	f, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		return fmt.Errorf("the program for the guest is no ELF file: %w", err)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(p.Open())
		if err != nil {
			return err
		}
		path := string(bytes.TrimRight(name, "\x00"))
		if files[path], err = os.ReadFile(path); err != nil {
			return fmt.Errorf("pack labctl's dynamic linker for the guest: %w; build labctl with CGO_ENABLED=0", err)
		}
	}
	needed, err := f.ImportedLibraries()
	if err != nil || len(needed) == 0 {
		return nil // linked statically
	}
	for _, name := range needed {
		if err := addLibrary(files, name); err != nil {
			return err
		}
	}
	return nil
}

func addLibrary(files map[string][]byte, name string) error {
	to := filepath.Join(libraryFolders[0], name)
	if files[to] != nil {
		return nil
	}
	for _, folder := range libraryFolders {
		b, err := os.ReadFile(filepath.Join(folder, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("pack a library of labctl for the guest: %w", err)
		}
		if f, err := elf.NewFile(bytes.NewReader(b)); err != nil || f.Machine != elf.EM_X86_64 {
			continue
		}
		files[to] = slim(b)
		return addLibraries(files, b)
	}
	return fmt.Errorf("labctl needs the library %s, which is in none of %v; build labctl with CGO_ENABLED=0", name, libraryFolders)
}
