package trace

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"
)

// Unavailable says why there is no exact layer here. Runs go on without it.
type Unavailable struct {
	What string // what was refused or is missing: "bpf()", "BTF", "/proc/kallsyms", ...
	Err  error  // what the kernel or a parser said
	Hint string // what would help, empty if nothing is known to
}

func (u *Unavailable) Error() string {
	text := fmt.Sprintf("%s: %v", u.What, u.Err)
	if u.Hint != "" {
		text += " (" + u.Hint + ")"
	}
	return text
}

func (u *Unavailable) Unwrap() error { return u.Err }

// Open loads the programs and attaches them. epoch is the reading of
// CLOCK_MONOTONIC, in ns, that the times of events count from. An error is an
// *Unavailable.
func Open(epoch int64) (*Tracer, error) { return open(epoch, ringSize, false) }

// OpenWoken is Open for a tracer that RunWoken reads.
func OpenWoken(epoch int64) (*Tracer, error) { return open(epoch, ringSize, true) }

// ringSize is the room for records that were not read yet, in bytes.
const ringSize = 1 << 22

func open(epoch int64, ring uint32, woken bool) (*Tracer, error) {
	spec, err := loadObserve()
	if err != nil {
		return nil, &Unavailable{"the programs", err, "labctl was not built from its own sources"}
	}
	spec.Maps[observeMapRecords].MaxEntries = ring
	// Refused most often, and at once: everything that follows costs time.
	records, err := ebpf.NewMap(spec.Maps[observeMapRecords])
	if err != nil {
		return nil, refusedMap(err)
	}
	defer func() { records.Close() }() // nil when it is kept
	kernel, err := btf.LoadKernelSpec()
	if err != nil {
		return nil, &Unavailable{"the kernel's BTF, /sys/kernel/btf/vmlinux", err, "it needs CONFIG_DEBUG_INFO_BTF"}
	}
	handlers, err := timerHandlers(spec, kernel)
	if err != nil {
		return nil, err
	}
	t := &Tracer{epoch: epoch, tick: tick(), hosts: map[uint64]*Host{}}
	if t.offset, err = clockOffset(); err != nil {
		return nil, &Unavailable{"/proc/self/timens_offsets", err, "times would be wrong without it"}
	}
	t.blind = arguments(kernel, "kfree_skb") < 4 // its socket came with Linux 6.11
	if t.blind {
		delete(spec.Programs, observeProgObserveSegment)
		t.limit("this kernel (before Linux 6.11) does not tell when a FIN_WAIT2 that no process holds becomes TIME_WAIT, unless its timer changes: it is then seen in the next socket table")
	}
	reasoned := arguments(kernel, "tcp_send_reset") >= 3 // since Linux 6.10
	if reasoned {
		t.reasons = resetReasons(kernel)
	} else {
		t.limit("this kernel (before Linux 6.10) does not tell of RSTs that are sent without a socket, or by a TIME_WAIT, nor why one is sent")
	}
	for name, value := range map[string]any{
		observeVarTwTimerHandler:    handlers[waitHandler],
		observeVarReqskTimerHandler: handlers[requestHandler],
		// 2 since Linux 6.9: the timer and its bucket. 3 before.
		observeVarStartTellsBucket: arguments(kernel, "timer_start") == 2,
		observeVarResetTellsReason: reasoned,
		observeVarWakesReader:      woken,
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, &Unavailable{"the variable " + name, err, ""}
		}
	}
	t.openBindings(spec, kernel)
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{
		MapReplacements: map[string]*ebpf.Map{observeMapRecords: records},
		Programs:        ebpf.ProgramOptions{KernelTypes: kernel}})
	if err != nil {
		t.detach()
		return nil, refusedLoad(err)
	}
	defer loaded.Close() // the links hold the programs
	for name, p := range loaded.Programs {
		l, err := attach(p, spec.Programs[name])
		if err != nil && name == observeProgObserveResetSent {
			t.limit(fmt.Sprintf("RSTs that are sent are not told of (attach to the tracepoint %s: %v)", spec.Programs[name].AttachTo, plain(err)))
			continue
		}
		if err != nil {
			t.detach()
			return nil, &Unavailable{"attach to the tracepoint " + spec.Programs[name].AttachTo, err, ""}
		}
		t.links = append(t.links, l)
	}
	if t.reader, err = ringbuf.NewReader(records); err != nil {
		t.detach()
		return nil, &Unavailable{"map the ring buffer", err, ""}
	}
	t.records, records = records, nil
	t.watched, t.lost = loaded.DetachMap(observeMapWatched), loaded.DetachMap(observeMapLost)
	return t, nil
}

// attach attaches a program to the tracepoint that its section names.
func attach(p *ebpf.Program, spec *ebpf.ProgramSpec) (link.Link, error) {
	if spec.Type == ebpf.RawTracepoint {
		return link.AttachRawTracepoint(link.RawTracepointOptions{Name: spec.AttachTo, Program: p})
	}
	return link.AttachTracing(link.TracingOptions{Program: p})
}

func (t *Tracer) detach() {
	for _, l := range t.links {
		l.Close()
	}
	if t.bindings != nil {
		t.bindings.Close()
	}
}

func (t *Tracer) limit(text string) { t.limits = append(t.limits, text) }

// resetReasons are the kernel's words for why an RST is sent.
func resetReasons(kernel *btf.Spec) map[uint8]string {
	words := map[uint8]string{}
	var reasons *btf.Enum
	if kernel.TypeByName("sk_rst_reason", &reasons) != nil {
		return words
	}
	for _, v := range reasons.Values {
		if v.Value > 0 && v.Value < 256 { // 0 is "not specified"
			words[uint8(v.Value)] = strings.TrimPrefix(v.Name, "SK_RST_REASON_")
		}
	}
	return words
}

func refusedMap(err error) error {
	u := &Unavailable{What: "bpf()", Err: plain(err)}
	switch {
	case errors.Is(err, unix.EPERM):
		u.Hint = "it needs CAP_BPF and CAP_PERFMON, and inside a user namespace nobody has them"
	case errors.Is(err, unix.ENOSYS):
		u.Hint = "this kernel is built without CONFIG_BPF_SYSCALL"
	case errors.Is(err, unix.EINVAL):
		u.Hint = "ring buffers need Linux 5.8"
	}
	return u
}

func refusedLoad(err error) error {
	u := &Unavailable{What: "load the programs that observe sockets", Err: err}
	verifier := (*ebpf.VerifierError)(nil)
	switch {
	case errors.As(err, &verifier):
		u.Err, u.Hint = verifier.Cause, "the kernel's verifier rejects them: "+strings.Join(verifier.Log[max(0, len(verifier.Log)-2):], "; ")
	case errors.Is(err, unix.EPERM):
		u.Err, u.Hint = unix.EPERM, "they need CAP_BPF and CAP_PERFMON, and no lockdown"
	}
	return u
}

// plain is the kernel's errno in an error, or else the error.
func plain(err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// arguments counts those of a tracepoint, 0 if the kernel does not have it. The
// type that BTF has of it has a pointer before them.
func arguments(kernel *btf.Spec, tracepoint string) int {
	var named *btf.Typedef
	if kernel.TypeByName("btf_trace_"+tracepoint, &named) != nil {
		return 0
	}
	pointer, ok := named.Type.(*btf.Pointer)
	if !ok {
		return 0
	}
	f, ok := pointer.Target.(*btf.FuncProto)
	if !ok {
		return 0
	}
	return len(f.Params) - 1
}

// tick is the length of a jiffy in ns: the resolution of the coarse clocks, which
// stand still between two timer interrupts (clock_getres(2)).
func tick() int64 {
	var ts unix.Timespec
	if unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &ts) != nil {
		return 0 // then no time is worked out
	}
	return ts.Nano()
}
