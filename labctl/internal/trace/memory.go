package trace

import (
	"errors"

	"github.com/cilium/ebpf/btf"
)

// OpenMemory loads what Bindings needs and nothing else: for a look at sockets that
// are no lab's. An error is an *Unavailable. CloseMemory gives it back.
func OpenMemory() (*Tracer, error) {
	spec, err := loadObserve()
	if err != nil {
		return nil, &Unavailable{"the programs", err, "labctl was not built from its own sources"}
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &Unavailable{"the kernel's BTF, /sys/kernel/btf/vmlinux", err, "it needs CONFIG_DEBUG_INFO_BTF"}
	}
	t := &Tracer{}
	t.openBindings(spec, kernel)
	if t.bindings == nil {
		return nil, &Unavailable{"the kernel's memory", errors.New(t.Describe()), ""}
	}
	return t, nil
}

// CloseMemory gives back what OpenMemory took.
func (t *Tracer) CloseMemory() error { return t.bindings.Close() }
