package trace

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"restartlab/labctl/internal/journal"
)

// TestBindings reads records as observe.bpf.c writes them, and fills in a table.
func TestBindings(t *testing.T) {
	encode := func(cookie uint64, uid uint32, rest ...byte) []byte {
		b := binary.LittleEndian.AppendUint64(nil, cookie)
		b = binary.LittleEndian.AppendUint32(b, uid)
		return append(append(b, rest...), make([]byte, bindingLen-len(b)-len(rest))...)
	}
	file := bytes.Join([][]byte{
		encode(7, 1000, 1, 0, 1, 0, 1),
		encode(8, 1000, 0, 1, 0xff, 2, 1),
		encode(9, 0, 2, 0, 0, 0, 0), // a socket without a bucket
		encode(0, 0, 1, 1, 1, 1, 1), // one that no table has seen yet
	}, nil)
	all, err := readBindings(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	yes, no, user := true, false, uint32(1000)
	want := []journal.Socket{
		{Cookie: 7, ReuseAddr: &yes, ReusePort: &no, Bucket: &journal.Bucket{FastReuse: 1}},
		{Cookie: 8, ReuseAddr: &no, ReusePort: &yes, Bucket: &journal.Bucket{FastReuse: -1, FastReusePort: 2, UID: &user}},
		{Cookie: 9, ReuseAddr: &yes, ReusePort: &no},
		{Cookie: 10}, // gone since the table was read
		{},           // a row of a kernel that gave no cookie
	}
	got := make([]journal.Socket, len(want))
	for i := range got {
		got[i].Cookie = want[i].Cookie
	}
	all.AddTo(got)
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Error(diff)
	}
	if _, err := readBindings(bytes.NewReader(file[:bindingLen+3])); err == nil || !strings.Contains(err.Error(), "what the kernel holds") {
		t.Errorf("a file cut short: %v", err)
	}
	Bindings(nil).AddTo(got) // where the kernel has no iterator
}
