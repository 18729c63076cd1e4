package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// wanted are the modules that a lab needs, unless they are built in.
var wanted = []string{"veth", "tcp_diag"}

// Module is a kernel module, unpacked.
type Module struct {
	Name    string
	content []byte
}

// moduleName is the name of the module in a file; "" if it is none.
func moduleName(file string) string {
	name, packed, ok := strings.Cut(path.Base(file), ".ko")
	if !ok || !slices.Contains([]string{"", ".xz", ".zst", ".gz"}, packed) {
		return ""
	}
	return strings.ReplaceAll(name, "-", "_")
}

// pick takes the wanted modules, and what they depend on, in an order in which they
// can be loaded. files holds the modules as they are stored, by their paths.
func pick(files map[string][]byte) ([]Module, error) {
	byName := map[string]string{}
	for file := range files {
		if name := moduleName(file); name != "" {
			byName[name] = file
		}
	}
	var picked []Module
	var need func(name string) error
	need = func(name string) error {
		if slices.ContainsFunc(picked, func(m Module) bool { return m.Name == name }) {
			return nil
		}
		file, ok := byName[name]
		if !ok {
			return nil // built in, or lacking: the kernel itself will tell
		}
		content, err := unpackModule(files[file])
		if err != nil {
			return fmt.Errorf("the module %s: %w", file, err)
		}
		depends, err := dependencies(content)
		if err != nil {
			return fmt.Errorf("the module %s: %w", file, err)
		}
		for _, d := range depends {
			if err := need(d); err != nil {
				return err
			}
		}
		picked = append(picked, Module{Name: name, content: content})
		return nil
	}
	for _, name := range wanted {
		if err := need(name); err != nil {
			return nil, err
		}
	}
	return picked, nil
}

// unpackModule undoes a module's compression, if it has one.
func unpackModule(b []byte) ([]byte, error) {
	if bytes.HasPrefix(b, []byte(elf.ELFMAG)) {
		return b, nil
	}
	r, err := decompress(b)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, mostImage))
}

// dependencies reads what a module says of itself in its section .modinfo:
// NUL-terminated NAME=value.
func dependencies(module []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("it has no section .modinfo")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			return strings.Split(strings.ReplaceAll(list, "-", "_"), ","), nil
		}
	}
	return nil, nil
}
