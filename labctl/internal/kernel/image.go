package kernel

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

// mostImage bounds what an image may unpack to: kernels have some 60 MiB.
const mostImage = 512 << 20

// unpackImage makes of a vmlinuz the ELF file that is in it, and returns one that
// is unpacked already as it is. QEMU starts the ELF file directly; the kernel
// unpacking itself would cost most of a boot's time there.
func unpackImage(b []byte) ([]byte, error) {
	if bytes.HasPrefix(b, []byte(elf.ELFMAG)) {
		return b, checkImage(b)
	}
	// The boot protocol's header (Documentation/arch/x86/boot.rst).
	const (
		setupSectors  = 0x1f1
		magic         = 0x202
		version       = 0x206
		payloadOffset = 0x248
		payloadLength = 0x24c
		needed        = 0x260
	)
	if len(b) < needed || string(b[magic:magic+4]) != "HdrS" {
		return nil, errors.New("neither a vmlinuz of x86-64 nor an ELF file")
	}
	if v := binary.LittleEndian.Uint16(b[version:]); v < 0x208 {
		return nil, fmt.Errorf("its boot protocol is %d.%02d; the kernel inside can be found from 2.08 on", v>>8, v&0xff)
	}
	sectors := int(b[setupSectors])
	if sectors == 0 {
		sectors = 4
	}
	from := (sectors+1)*512 + int(binary.LittleEndian.Uint32(b[payloadOffset:]))
	length := int(binary.LittleEndian.Uint32(b[payloadLength:]))
	if length < 4 || from+length > len(b) {
		return nil, errors.New("it ends before the kernel inside does: an incomplete copy?")
	}
	payload := b[from : from+length]
	image, err := unpack(payload)
	if err != nil {
		return nil, fmt.Errorf("unpack the kernel inside: %w", err)
	}
	return image, checkImage(image)
}

// unpack reads a kernel's payload: compressed, with the size that it has unpacked
// behind it.
func unpack(payload []byte) ([]byte, error) {
	size := binary.LittleEndian.Uint32(payload[len(payload)-4:])
	if size > mostImage {
		return nil, fmt.Errorf("it says that it has %d MiB", size>>20)
	}
	r, err := decompress(payload[:len(payload)-4])
	if err != nil {
		return nil, err
	}
	image := make([]byte, size)
	_, err = io.ReadFull(r, image)
	return image, err
}

// decompress recognises a compression by its first bytes.
func decompress(b []byte) (io.Reader, error) {
	in := bytes.NewReader(b)
	for _, c := range []struct {
		magic string
		open  func() (io.Reader, error)
	}{
		{"\x1f\x8b", func() (io.Reader, error) { return gzip.NewReader(in) }},
		{"\x28\xb5\x2f\xfd", func() (io.Reader, error) {
			return zstd.NewReader(in, zstd.WithDecoderMaxMemory(mostImage), zstd.WithDecoderMaxWindow(mostImage))
		}},
		{"\x02\x21\x4c\x18", func() (io.Reader, error) { return lz4.NewReader(in), nil }},
		{"\xfd7zXZ", func() (io.Reader, error) { return xz.NewReader(in, xz.DefaultDictMax) }},
	} {
		if bytes.HasPrefix(b, []byte(c.magic)) {
			return c.open()
		}
	}
	return nil, errors.New("compressed in a way that is not gzip, xz, zstd or lz4")
}

// checkImage wants a kernel that QEMU can start directly: CONFIG_PVH.
func checkImage(image []byte) error {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return fmt.Errorf("the kernel inside is no ELF file: %w", err)
	}
	if f.Machine != elf.EM_X86_64 {
		return fmt.Errorf("a kernel for %s; the machines here are x86-64", f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_NOTE && hasEntryNote(p.Open()) {
			return nil
		}
	}
	return errors.New("built without CONFIG_PVH, by which it is started")
}

// pvhEntry is the note that says where a kernel is entered: XEN_ELFNOTE_PHYS32_ENTRY.
const pvhEntry = 18

func hasEntryNote(notes io.Reader) bool {
	for {
		var head struct{ Name, Desc, Type uint32 }
		if binary.Read(notes, binary.LittleEndian, &head) != nil {
			return false
		}
		name := make([]byte, min(head.Name+3, 1<<10)&^3)
		if _, err := io.ReadFull(notes, name); err != nil {
			return false
		}
		if head.Type == pvhEntry && bytes.HasPrefix(name, []byte("Xen\x00")) {
			return true
		}
		if _, err := io.CopyN(io.Discard, notes, int64(head.Desc+3)&^3); err != nil {
			return false
		}
	}
}

// placeholder is the smallest ELF file that QEMU takes for a kernel. A machine that
// goes on from where it was saved has its kernel in its memory; but QEMU wants one
// to set up the same devices, and would hold the true one a second time.
func placeholder() []byte {
	const (
		headers = 64 + 2*56
		notes   = headers
		note    = 12 + 4 + 4
		code    = notes + note
		entry   = 0x1000000
	)
	var b bytes.Buffer
	write := func(v any) { binary.Write(&b, binary.LittleEndian, v) } // a Buffer takes all
	write(elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Entry: entry,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 2, Shentsize: 64})
	write(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: code, Vaddr: entry, Paddr: entry, Filesz: 1, Memsz: 1, Align: 1})
	write(elf.Prog64{Type: uint32(elf.PT_NOTE), Off: notes, Filesz: note, Memsz: note, Align: 4})
	write([]uint32{4, 4, pvhEntry})
	b.WriteString("Xen\x00")
	write(uint32(entry))
	b.WriteByte(0xf4)                                // hlt
	return append(b.Bytes(), make([]byte, 8<<10)...) // QEMU looks for other headers first
}
