package kernel

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// besideName is the labctl for guests, if it lies beside this one: as it must where
// this one is for another system, and may where this one is linked dynamically.
const besideName = "labctl-linux-amd64"

// guestProgram reads the labctl that becomes a guest's first process.
func guestProgram() ([]byte, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find labctl itself: %w", err)
	}
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	beside := filepath.Join(filepath.Dir(self), besideName)
	b, err := os.ReadFile(beside)
	if err == nil {
		if !forGuest(b) {
			return nil, fmt.Errorf("%s is no program for Linux on x86-64", beside)
		}
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the labctl for the guest: %w", err)
	}
	if b, err = os.ReadFile(self); err != nil {
		return nil, fmt.Errorf("read labctl itself: %w", err)
	}
	if !forGuest(b) {
		return nil, fmt.Errorf("the guest's own labctl is missing: this one is not for Linux on x86-64. Put one beside it: CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -o %s ./labctl", beside)
	}
	return b, nil
}

func forGuest(program []byte) bool {
	f, err := elf.NewFile(bytes.NewReader(program))
	return err == nil && f.Machine == elf.EM_X86_64 && (f.Type == elf.ET_EXEC || f.Type == elf.ET_DYN) &&
		(f.OSABI == elf.ELFOSABI_NONE || f.OSABI == elf.ELFOSABI_LINUX)
}
