package kernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// image is the smallest kernel: an ELF file with the note by which it is entered,
// and its banner.
func image(release string) []byte {
	return append(placeholder(), "\x00Linux version %s (\x00Linux version "+release+" (somebody) #1 SMP\n\x00"...)
}

// vmlinuz packs an image as the kernel's own build does.
func vmlinuz(t testing.TB, image []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	z.Write(image)
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	payload := binary.LittleEndian.AppendUint32(packed.Bytes(), uint32(len(image)))
	b := make([]byte, 2*512)
	b[0x1f1] = 1
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20f)
	binary.LittleEndian.PutUint32(b[0x248:], 0)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(payload)))
	return append(b, payload...)
}

// module is an ELF file with a .modinfo.
func module(t testing.TB, depends string) []byte {
	t.Helper()
	info := "license=GPL\x00depends=" + depends + "\x00name=x\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	var b bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	write(elf.Header64{Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type: uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1, Shoff: 64, Ehsize: 64, Shentsize: 64, Shnum: 3, Shstrndx: 2})
	at := uint64(64 + 3*64)
	write(elf.Section64{})
	write(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: at, Size: uint64(len(info))})
	write(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: at + uint64(len(info)), Size: uint64(len(names))})
	b.WriteString(info + names)
	return b.Bytes()
}

// deb packs files as a Debian package.
func deb(t testing.TB, files map[string][]byte) string {
	t.Helper()
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: "./" + name, Size: int64(len(content)), Mode: 0o644, Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		w.Write(content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, m := range []struct {
		name    string
		content []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", []byte("odd")}, {"data.tar", data.Bytes()}} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.content))
		b.Write(m.content)
		if len(m.content)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	name := filepath.Join(t.TempDir(), "linux-image.deb")
	if err := os.WriteFile(name, b.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFetch(t *testing.T) {
	const release = "6.12.107+deb13-cloud-amd64"
	store := OpenAt(t.TempDir())
	quiet := func(string) {}
	modules := "usr/lib/modules/" + release + "/kernel/"
	pkg := deb(t, map[string][]byte{
		"boot/vmlinuz-" + release:                vmlinuz(t, image(release)),
		modules + "drivers/net/veth.ko":          module(t, ""),
		modules + "net/ipv4/tcp_diag.ko":         module(t, "inet_diag"),
		modules + "net/ipv4/inet_diag.ko":        module(t, ""),
		modules + "net/ipv4/tcp_westwood.ko":     module(t, ""),
		modules + "drivers/gpu/drm/nouveau.ko":   module(t, ""),
		"usr/share/doc/linux-image/changelog.gz": []byte("words"),
	})
	k, err := store.Fetch(context.Background(), pkg, "", quiet)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range k.modules {
		names = append(names, m.Name)
	}
	if got := strings.Join(names, " "); k.Release != release || got != "veth inet_diag tcp_diag" {
		t.Errorf("release %s, modules %s", k.Release, got)
	}
	found, err := store.Find("6.12")
	if err != nil {
		t.Fatal(err)
	}
	if err := found.load(); err != nil || found.Digest != k.Digest || !bytes.Equal(found.image, image(release)) {
		t.Errorf("what was kept is not what was fetched: %v", err)
	}
	if _, err := store.Find("6.1"); err == nil || !strings.Contains(err.Error(), "labctl kernels fetch debian:6.1") {
		t.Errorf("6.1 finds 6.12, or its error does not say what to do: %v", err)
	}

	t.Run("a kernel that was changed since", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(found.folder, imageFile), image("6.12.0"), 0o666); err != nil {
			t.Fatal(err)
		}
		again, err := store.Find("6.12")
		if err != nil {
			t.Fatal(err)
		}
		if err := again.load(); err == nil || !strings.Contains(err.Error(), "fetch it again") {
			t.Errorf("%v", err)
		}
	})
	t.Run("the same from a file", func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "bzImage")
		below := filepath.Join(dir, "modules", "kernel", "net", "ipv4")
		if err := os.MkdirAll(below, 0o777); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string][]byte{file: vmlinuz(t, image("6.19.1")), filepath.Join(below, "tcp_diag.ko"): module(t, "")} {
			if err := os.WriteFile(name, content, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		k, err := FromFile(file, filepath.Join(dir, "modules"))
		if err != nil || k.Release != "6.19.1" || len(k.modules) != 1 {
			t.Errorf("%+v, %v", k, err)
		}
	})
	t.Run("removed", func(t *testing.T) {
		if err := store.Remove(found); err != nil {
			t.Fatal(err)
		}
		if list, err := store.List(); err != nil || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
	})
}

// TestBadKernels gives what is no kernel, or one that cannot be started.
func TestBadKernels(t *testing.T) {
	whole := vmlinuz(t, image("6.1.0"))
	odd := bytes.Clone(whole)
	copy(odd[2*512:], "????")
	without := bytes.Clone(image("6.1.0"))
	binary.LittleEndian.PutUint32(without[64+2*56+8:], 99) // another note
	type bad struct {
		content []byte
		want    string
	}
	for name, c := range map[string]bad{
		"words":                {[]byte("no kernel"), "neither a vmlinuz"},
		"empty":                {nil, "neither a vmlinuz"},
		"cut short":            {whole[:len(whole)-9], "incomplete copy"},
		"unknown compression":  {odd, "not gzip, xz, zstd or lz4"},
		"without an entry":     {without, "CONFIG_PVH"},
		"without a version":    {placeholder(), "which version"},
		"not all that it says": {append(bytes.Clone(whole[:len(whole)-4]), 0xff, 0xff, 0, 0), "unpack the kernel inside"},
	} {
		file := filepath.Join(t.TempDir(), "vmlinuz")
		if err := os.WriteFile(file, c.content, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := FromFile(file, ""); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := FromFile(filepath.Join(t.TempDir(), "none"), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestReleases(t *testing.T) {
	sorted := []string{"5.10.0-32-cloud-amd64", "6.1.0-9-cloud-amd64", "6.1.0-50-cloud-amd64", "6.12.94+deb13-cloud-amd64", "6.12.107+deb13-cloud-amd64", "7.3.4+deb13-cloud-amd64"}
	for i := 1; i < len(sorted); i++ {
		if compareReleases(sorted[i-1], sorted[i]) >= 0 || compareReleases(sorted[i], sorted[i-1]) <= 0 {
			t.Errorf("%s is not older than %s", sorted[i-1], sorted[i])
		}
	}
	for _, c := range []struct {
		release, name string
		want          bool
	}{{sorted[4], "6.12", true}, {sorted[4], "6.1", false}, {sorted[2], "6.1", true}, {sorted[2], sorted[2], true}, {sorted[2], "", false}, {sorted[4], "6.12.10", false}} {
		if matches(c.release, c.name) != c.want {
			t.Errorf("%s by the name %q: %v", c.release, c.name, !c.want)
		}
	}
	if got := strings.Join(order("6.1.50"), " "); !strings.HasPrefix(got, "bookworm ") || len(strings.Fields(got)) != len(suites) {
		t.Errorf("6.1.50 is looked for in %s", got)
	}
}

// TestLock lets two want the same, and one of them go.
func TestLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.lock")
	unlock, err := lock(context.Background(), file, func() { t.Error("a free lock was waited for") })
	if err != nil {
		t.Fatal(err)
	}
	if other, err := tryLock(file); other != nil || err != nil {
		t.Errorf("two have the lock: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := lock(ctx, file, cancel); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was cancelled: %v", err)
	}
	waits, got := make(chan bool), make(chan error)
	go func() {
		unlock, err := lock(context.Background(), file, func() { close(waits) })
		if err == nil {
			unlock()
		}
		got <- err
	}()
	<-waits
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestTail(t *testing.T) {
	var l tail
	fmt.Fprintf(&l, "%s\nfirst\x1b[31m words\r\n[ 1.0] Kernel panic - not syncing: no init\n[ 1.0] CPU: 0\n[ 1.1] Call Trace:\n", strings.Repeat("x", 3*tailBytes))
	if got := l.text(); !strings.HasSuffix(got, "first[31m words\n[ 1.0] Kernel panic - not syncing: no init") {
		t.Errorf("%q", got[max(0, len(got)-200):])
	}
}

// TestOldQEMU tries programs that are no QEMU that will do.
func TestOldQEMU(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := FindQEMU(context.Background()); err == nil || !strings.Contains(err.Error(), "not installed") {
		t.Errorf("none: %v", err)
	}
	for said, want := range map[string]string{
		"QEMU emulator version 5.2.0 (Debian 1:5.2)": "takes 6.0 or newer",
		"a fine day":                  "it said",
		"QEMU emulator version 9.0.2": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, qemuProgram), []byte("#!/bin/sh\necho '"+said+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		q, err := FindQEMU(context.Background())
		switch {
		case want == "" && (err != nil || q.Version != "9.0.2"):
			t.Errorf("%s: %+v, %v", said, q, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v", said, err)
		}
	}
}

// TestFailures starts programs in place of QEMU that go wrong.
func TestFailures(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "qemu")
	state, err := os.Create(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	for script, want := range map[string]string{
		"echo no such machine >&2; exit 1": "QEMU said: no such machine",
		"kill -9 $$":                       "signal",
		"echo words":                       "start a machine",
		"echo some words >&4; exit 3":      "| some words",
	} {
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, _, err := (&QEMU{path: program}).start(dir, nil, nil, state)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", script, err)
		}
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%s: known only after %s", script, took)
		}
	}
}
