package guest

import (
	"encoding/binary"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// out writes each byte to the port, in reads as many from it, out2 writes 16 bits
// at once. withPorts runs them.
func out(port uint16, b []byte)
func in(port uint16, b []byte)
func out2(port, value uint16)

// withPorts runs f on a thread that may use the machine's ports: that is the
// thread's own right (iopl(2)).
func withPorts(f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if _, _, errno := unix.RawSyscall(unix.SYS_IOPL, 3, 0, 0); errno != 0 {
		return fmt.Errorf("ask for the machine's ports (iopl): %w", errno)
	}
	f()
	return nil
}

// item reads an item of fw_cfg by its name on QEMU's command line; nil if there is
// none.
func item(name string) []byte {
	const (
		directory = 0x19
		entry     = 64 // size, key, two bytes of nothing, name
	)
	out2(portSelect, directory)
	head := make([]byte, 4)
	in(portRead, head)
	entries := make([]byte, entry*int(binary.BigEndian.Uint32(head)))
	in(portRead, entries)
	for ; len(entries) >= entry; entries = entries[entry:] {
		if unix.ByteSliceToString(entries[8:entry]) == name {
			content := make([]byte, binary.BigEndian.Uint32(entries))
			out2(portSelect, binary.BigEndian.Uint16(entries[4:]))
			in(portRead, content)
			return content
		}
	}
	return nil
}
