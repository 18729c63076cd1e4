package scenario

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxSize is the size of the largest file that is read, in bytes. The largest
// shipped one has a few thousand.
const maxSize = 1 << 20

// Read reads a scenario's file. Its errors are whole sentences for the user.
func Read(path string) ([]byte, error) {
	// O_NONBLOCK: opening a named pipe that nobody writes to must not hang.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: there is no such file", path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: it may not be read: permission denied", path)
	case err != nil:
		return nil, fmt.Errorf("%s: it cannot be opened: %w", path, cause(err))
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s: it is a directory; a scenario is a YAML file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("%s: it cannot be read: %w", path, cause(err))
	}
	if m := unusable(data); m != "" {
		return nil, fmt.Errorf("%s: %s", path, m)
	}
	return data, nil
}

// cause leaves out the operation and path that a file error repeats.
func cause(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}

// unusable says why data cannot be a scenario at all, before any parsing.
func unusable(data []byte) string {
	switch {
	case len(data) > maxSize:
		return "the file is over 1 MiB; a scenario has a few thousand bytes"
	case len(bytes.TrimSpace(data)) == 0:
		return "the file is empty; a scenario has at least a name and steps"
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return "the file is not text in UTF-8; a scenario is a YAML file"
	}
	return ""
}

// printable tells of the control characters, which YAML forbids.
func (p *problems) printable() bool {
	for i, line := range p.lines {
		for at, r := range []rune(line) {
			if unicode.IsControl(r) && r != '\t' {
				p.add(&yaml.Node{Line: i + 1, Column: at + 1}, "the control character %U stands here; a YAML file has none but tabs and line ends", r)
				break
			}
		}
	}
	return len(p.list) == 0
}
