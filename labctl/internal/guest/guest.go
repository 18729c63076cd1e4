// Package guest is a lab's first process when the lab has a kernel of its own:
// /init of a virtual machine that the package kernel boots. It knows the machine
// that QEMU makes: which ports there are, and what goes through each.
//
// It assumes that it is PID 1 with all privileges, on x86-64, with a file system
// that package kernel has packed. It promises to touch no clock and no source of
// chance but the guest's own, so that the same plan and the same seed give the
// same bytes.
package guest

import "encoding/json"

// The ports of the machine. Package kernel puts a device behind each.
const (
	PortJournal  = 0x5e9 // isa-debugcon: every byte goes out, at once (0x402 is the BIOS's own)
	PortSnapshot = 0x505 // pvpanic: a write stops the machine
	PortEnd      = 0xf4  // isa-debug-exit: a write ends it
	portSelect   = 0x510 // fw_cfg: which item is read
	portRead     = 0x511 // fw_cfg: its next byte
)

// OrderItem is the name of the fw_cfg item with the Order, in JSON.
const OrderItem = "opt/restartlab/order"

// Modules is the folder with the modules, loaded in the order of their names.
const Modules = "/modules"

// Argument is what /init is called with: labctl's own part.
const Argument = "guest"

// Status is what the guest writes to PortEnd. QEMU then exits with twice that,
// plus one.
const (
	StatusDone   = 0 // the journal tells all
	StatusFailed = 1 // the console tells why
)

// Prepared is what the guest says of itself, one JSON line to PortJournal, before
// it stops to be saved.
type Prepared struct {
	Release string `json:"release"` // uname
	Build   string `json:"build"`
	Arch    string `json:"arch"`
	HZ      int    `json:"hz,omitempty"`
	// Lacks says what this kernel lacks that no lab can be without; empty if
	// nothing.
	Lacks string `json:"lacks,omitempty"`
}

// Order is what the outside tells the guest to do.
type Order struct {
	// Seed decides all that is left to chance: the kernel's random numbers, and
	// so ephemeral ports and sequence numbers.
	Seed uint64 `json:"seed"`
	// Warp says that the clock jumps over idle time: looking costs, waiting does not.
	Warp bool            `json:"warp"`
	Plan json.RawMessage `json:"plan"`
}
