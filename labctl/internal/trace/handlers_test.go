package trace

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf/btf"
	"github.com/google/go-cmp/cmp"
)

// What sockets' timers tell is what the kernel's list says.
func TestHandlersAreLearnt(t *testing.T) {
	opened(t, ringSize).Describe() // or it is skipped
	want, err := shownHandlers()
	if err != nil {
		t.Skip("the kernel's list is hidden here too, so there is nothing to compare with: ", err)
	}
	spec, err := loadObserve()
	if err != nil {
		t.Fatal(err)
	}
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		t.Fatal(err)
	}
	got, err := learntHandlers(spec.Programs[observeProgTellHandler], kernel)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-listed +learnt)\n%s", d)
	}
}

func TestReadHandlers(t *testing.T) {
	record := func(state, low byte) []byte {
		return append([]byte{state, 0, 0, 0, 0, 0, 0, 0}, low, 0, 0, 0, 0, 0, 0, 0xff)
	}
	both := append(record(6, 1), record(12, 2)...)
	got, err := readHandlers(bytes.NewReader(both))
	if d := cmp.Diff(map[string]uint64{waitHandler: 0xff00000000000001, requestHandler: 0xff00000000000002}, got); err != nil || d != "" {
		t.Errorf("%v\n%s", err, d)
	}
	for name, b := range map[string][]byte{"nothing": nil, "one alone": record(6, 1), "cut short": both[:20], "others": record(3, 1)} {
		if got, err := readHandlers(bytes.NewReader(b)); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}
