package kernel

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"
)

// tail keeps the last of what somebody prints.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

const (
	tailBytes = 8 << 10
	tailLines = 12
)

// read takes all until the end, and closes f.
func (t *tail) read(f *os.File) {
	defer f.Close()
	io.Copy(t, f)
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, b...)
	t.kept = bytes.Clone(t.kept[max(0, len(t.kept)-tailBytes):])
	return len(b), nil
}

// text is the last lines, fit to be printed.
func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.Map(func(r rune) rune {
		if r == '\n' || unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(string(t.kept), "\uFFFD"))
	// What a kernel prints after that is for those who mend kernels.
	if before, panicked, found := strings.Cut(text, "Kernel panic"); found {
		line, _, _ := strings.Cut(panicked, "\n")
		text = before + "Kernel panic" + line
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
