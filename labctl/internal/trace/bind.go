package trace

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"

	"restartlab/labctl/internal/journal"
)

// bindingLen is the size of struct binding of observe.bpf.c.
const bindingLen = 24

// openBindings loads the iterator of Bindings. It is not attached to anything in
// the kernel and costs nothing until it is read. Without it the rest goes on.
func (t *Tracer) openBindings(spec *ebpf.CollectionSpec, kernel *btf.Spec) {
	own := spec.Programs[observeProgTellBinding].Copy()
	delete(spec.Programs, observeProgTellBinding)
	p, err := ebpf.NewProgramWithOptions(own, ebpf.ProgramOptions{KernelTypes: kernel})
	if err == nil {
		defer p.Close() // the link holds it
		t.bindings, err = link.AttachIter(link.IterOptions{Program: p})
	}
	if err != nil {
		t.limit(fmt.Sprintf("what the kernel's memory holds of a port's sockets cannot be read (iter/tcp: %v)", plain(err)))
	}
}

// Bindings reads what the kernel's memory holds of each TCP socket in the calling
// thread's network namespace: its options, and those of its port's bucket. Call it
// after the socket table, whose reading gives each socket its cookie, and AddTo the
// rows. It is nil, without an error, where the kernel has no such iterator;
// Describe then says so.
//
// The kernel passes over sockets that are bound and do nothing more.
func (t *Tracer) Bindings() (Bindings, error) {
	if t.bindings == nil {
		return nil, nil
	}
	file, err := t.bindings.Open()
	if err != nil {
		return nil, fmt.Errorf("iterate over the kernel's sockets: %w", err)
	}
	defer file.Close()
	return readBindings(bufio.NewReader(file))
}

// Bindings are what the kernel's memory holds of sockets, by cookie.
type Bindings map[uint64]binding

// binding is that of one socket.
type binding struct {
	reuseAddr, reusePort bool
	bucket               *journal.Bucket
}

// AddTo fills in the rows of a socket table.
func (b Bindings) AddTo(rows []journal.Socket) {
	for i := range rows {
		row := &rows[i]
		if held, ok := b[row.Cookie]; ok && row.Cookie != 0 {
			row.ReuseAddr, row.ReusePort, row.Bucket = &held.reuseAddr, &held.reusePort, held.bucket
		}
	}
}

// readBindings reads records to the end. Any bytes are safe to read.
func readBindings(r io.Reader) (Bindings, error) {
	all := Bindings{}
	var b [bindingLen]byte
	for {
		switch _, err := io.ReadFull(r, b[:]); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("read what the kernel holds of its sockets: %w", err)
		}
		held := binding{reuseAddr: b[12] != 0, reusePort: b[13] != 0}
		if b[16] != 0 {
			held.bucket = &journal.Bucket{FastReuse: int(int8(b[14])), FastReusePort: int(int8(b[15]))}
			if uid := binary.LittleEndian.Uint32(b[8:]); b[15] != 0 { // else nothing was ever written there
				held.bucket.UID = &uid
			}
		}
		all[binary.LittleEndian.Uint64(b[:])] = held
	}
}
