package kernel

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// parts are what is taken out of packages: an image, and modules by their paths.
type parts struct {
	vmlinuz []byte
	modules map[string][]byte
}

// fromPackages makes a kernel of Debian packages: of one, or of several where image
// and modules come apart.
func fromPackages(source string, files ...string) (*Kernel, error) {
	p := parts{modules: map[string][]byte{}}
	for _, name := range files {
		if err := p.addPackage(name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	if p.vmlinuz == nil {
		return nil, fmt.Errorf("%s: no kernel is in it (boot/vmlinuz-* or lib/modules/*/vmlinuz)", strings.Join(files, ", "))
	}
	k, err := newKernel(p.vmlinuz, p.modules, source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(files, ", "), err)
	}
	return k, nil
}

// addPackage takes the parts that are in a .deb (deb(5)): an archive of ar(1) with a
// tar file in it.
func (p *parts) addPackage(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewReaderSize(f, 1<<20)
	magic := make([]byte, 8)
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != "!<arch>\n" {
		return errors.New("not a Debian package")
	}
	for {
		head := make([]byte, 60)
		if _, err := io.ReadFull(in, head); err != nil {
			return errors.New("not a whole Debian package: no data.tar is in it")
		}
		size, err := strconv.ParseInt(strings.TrimSpace(string(head[48:58])), 10, 64)
		if err != nil || size < 0 {
			return errors.New("not a Debian package: the size of a member cannot be read")
		}
		member := io.LimitReader(in, size)
		if !strings.HasPrefix(string(head[:16]), "data.tar") {
			if _, err := io.CopyN(io.Discard, in, size+size%2); err != nil {
				return errors.New("not a whole Debian package")
			}
			continue
		}
		return p.addTar(member)
	}
}

// addTar takes the parts out of a tar file, compressed or not.
func (p *parts) addTar(packed io.Reader) error {
	all, err := io.ReadAll(packed)
	if err != nil {
		return err
	}
	var plain io.Reader = bytes.NewReader(all)
	if r, err := decompress(all); err == nil {
		plain = r
	}
	for t := tar.NewReader(plain); ; {
		h, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("its data cannot be unpacked: %w", err)
		}
		name := path.Clean("/" + h.Name)
		image := isImage(name)
		if h.Typeflag != tar.TypeReg || !image && !isModule(name) {
			continue
		}
		content, err := io.ReadAll(io.LimitReader(t, mostImage))
		if err != nil {
			return fmt.Errorf("its data cannot be unpacked: %w", err)
		}
		if image {
			p.vmlinuz = content
		} else {
			p.modules[name] = content
		}
	}
}

// isImage reports whether a package's file is its kernel.
func isImage(name string) bool {
	folder, base := path.Split(name)
	return folder == "/boot/" && strings.HasPrefix(base, "vmlinuz-") || base == "vmlinuz" && strings.Contains(folder, "/lib/modules/")
}

// isModule reports whether a file is a module that labs may need: the others are
// not even read.
func isModule(name string) bool {
	return moduleName(name) != "" && strings.Contains(name, "/net/")
}

// fromFiles makes a kernel of a vmlinuz, or vmlinux, and a folder below which its
// modules are; none if everything is built in.
func fromFiles(image, modules string) (*Kernel, error) {
	b, err := os.ReadFile(image)
	if err != nil {
		return nil, fmt.Errorf("read the kernel: %w", err)
	}
	files := map[string][]byte{}
	if modules != "" {
		err := filepath.WalkDir(modules, func(name string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && isModule(filepath.ToSlash(name)) {
				files[name], err = os.ReadFile(name)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read the modules: %w", err)
		}
	}
	source := image
	if abs, err := filepath.Abs(image); err == nil {
		source = abs
	}
	k, err := newKernel(b, files, source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", image, err)
	}
	return k, nil
}
