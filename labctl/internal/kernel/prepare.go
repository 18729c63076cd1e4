package kernel

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"restartlab/labctl/internal/guest"
)

// Machine is a machine that was started once, up to the moment at which it asks what
// to do, and saved. Each run goes on from there.
type Machine struct {
	Kernel string         `json:"kernel"` // release
	Source string         `json:"source"`
	Digest string         `json:"kernel_digest"`
	QEMU   string         `json:"qemu"` // version
	Guest  guest.Prepared `json:"guest"`
	Made   string         `json:"made"` // RFC 3339
	Took   time.Duration  `json:"took_ns"`
	hardware

	qemu   *QEMU
	folder string
}

// names of what is in a prepared machine's folder
const (
	machineFile     = "machine.json"
	stateFile       = "state"
	placeholderFile = "placeholder"
	initramfsFile   = "initramfs.cpio"
)

// What is made under another name until it is whole, and the lock of who makes it.
const (
	makingPrefix = ".making-"
	lockSuffix   = ".lock"
)

// version is that of what is in the folder.
const version = "1"

func (s *Store) prepared() string { return filepath.Join(s.root, "prepared") }

// bootTime is what a guest may take, in real time, to be ready to be saved.
const bootTime = 2 * time.Minute

// Prepare returns the machine of a kernel, making it if nobody has yet. say is told
// in words what takes time.
func (s *Store) Prepare(ctx context.Context, q *QEMU, k *Kernel, warp bool, say func(string)) (*Machine, error) {
	if warp {
		return s.prepare(ctx, q, k, hardware{Accel: "tcg", Warp: true, Memory: memory, Append: kernelArguments}, say)
	}
	return s.inRealTime(ctx, q, k, say)
}

func (s *Store) prepare(ctx context.Context, q *QEMU, k *Kernel, h hardware, say func(string)) (*Machine, error) {
	program, err := guestProgram()
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("prepare kernel %s", k.Release)
	digest := sha256.Sum256(fmt.Append(nil, version, k.Digest, sha256.Sum256(program), q.Version, h.arguments(0, "")))
	folder := filepath.Join(s.prepared(), fmt.Sprintf("%s-%x", k.Release, digest[:8]))
	if m, err := openMachine(folder, q); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if err := os.MkdirAll(s.prepared(), 0o777); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	unlock, err := lock(ctx, folder+lockSuffix, func() { say("another labctl prepares kernel " + k.Release + ": waiting for it") })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer unlock()
	if m, err := openMachine(folder, q); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if err := k.load(); err != nil {
		return nil, err
	}
	say("starting kernel " + k.Release + " for the first time, to save it")
	making := filepath.Join(s.prepared(), makingPrefix+filepath.Base(folder))
	if err := os.RemoveAll(making); err != nil { // of one who was killed
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := os.Mkdir(making, 0o777); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	defer os.RemoveAll(making)
	start := time.Now()
	m := &Machine{Kernel: k.Release, Source: k.Source, Digest: k.Digest, QEMU: q.Version, Made: start.UTC().Format(time.RFC3339), hardware: h}
	if err := m.make(ctx, q, k, program, making); err != nil {
		if f := (*Failure)(nil); errors.As(err, &f) {
			return nil, err
		}
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	m.Took = time.Since(start)
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(making, machineFile), append(b, '\n'), 0o666); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := os.Rename(making, folder); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return openMachine(folder, q)
}

// openMachine opens one that was prepared; fs.ErrNotExist if it was not.
func openMachine(folder string, q *QEMU) (*Machine, error) {
	b, err := os.ReadFile(filepath.Join(folder, machineFile))
	if err != nil {
		return nil, err
	}
	m := &Machine{folder: folder, qemu: q}
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w): run labctl kernels clean", filepath.Join(folder, machineFile), err)
	}
	return m, nil
}

// make starts the kernel, waits until the guest has stopped, and saves it in the
// folder.
func (m *Machine) make(ctx context.Context, q *QEMU, k *Kernel, program []byte, folder string) error {
	packed, err := initramfs(program, k.modules)
	if err != nil {
		return err
	}
	initrd := filepath.Join(folder, initramfsFile)
	image := filepath.Join(folder, imageFile)
	defer os.Remove(initrd) // what is saved has them in its memory
	defer os.Remove(image)
	for name, content := range map[string][]byte{initrd: packed, image: k.image, filepath.Join(folder, placeholderFile): placeholder()} {
		if err := os.WriteFile(name, content, 0o666); err != nil {
			return err
		}
	}
	state, err := os.Create(filepath.Join(folder, stateFile))
	if err != nil {
		return err
	}
	defer state.Close()
	what := fmt.Sprintf("start kernel %s in QEMU %s", k.Release, q.Version)
	p, lines, err := q.start(folder, m.arguments(1, imageFile, "-initrd", initramfsFile), []byte("{}"), state)
	if err != nil {
		return err
	}
	defer lines.Close()
	defer p.kill()
	stop := p.killAfter(ctx, cmp.Or(m.patience, bootTime))
	defer stop()

	if _, ok := p.await("GUEST_PANICKED"); !ok {
		return p.failure(what, p.why(ctx))
	}
	// The guest stops by the same device by which a kernel tells that it panics;
	// but it has said something before, which is in the pipe by now.
	lines.SetReadDeadline(time.Now().Add(time.Second))
	line, err := bufio.NewReader(lines).ReadBytes('\n')
	if err != nil {
		p.kill()
		return p.failure(what, errors.New("the kernel panicked"))
	}
	if err := json.Unmarshal(line, &m.Guest); err != nil {
		return fmt.Errorf("what the guest said cannot be read: %w", err)
	}
	if m.Guest.Lacks != "" {
		p.kill()
		return p.failure(what, fmt.Errorf("no lab can be had there: %s", m.Guest.Lacks))
	}
	if err := p.migrate("migrate", "exec:cat > "+stateFile); err != nil {
		p.kill()
		return p.failure("save the machine of kernel "+k.Release+" in "+folder, err)
	}
	return state.Sync()
}

// migrate is QEMU's word for writing a machine's state somewhere, and for reading it
// from there (migrate-incoming). It returns when that is done.
func (p *process) migrate(command, where string) error {
	if _, err := p.do("migrate-set-capabilities", map[string]any{
		"capabilities": []any{map[string]any{"capability": "events", "state": true}}}); err != nil {
		return err
	}
	if command == "migrate" {
		if _, err := p.do("migrate-set-parameters", map[string]any{"max-bandwidth": 0}); err != nil { // no limit
			return err
		}
	}
	if _, err := p.do(command, map[string]any{"uri": where}); err != nil {
		return err
	}
	switch e, ok := p.await("MIGRATION completed", "MIGRATION failed"); {
	case !ok:
		return errors.New("QEMU ended")
	case strings.HasSuffix(e, "failed"):
		var status struct {
			Why string `json:"error-desc"`
		}
		if answer, err := p.do("query-migrate", nil); err == nil {
			json.Unmarshal(answer, &status) // only for the words
		}
		if status.Why == "" {
			status.Why = "the machine's state could not be written or read: is the disk full?"
		}
		return errors.New(status.Why)
	}
	return nil
}
