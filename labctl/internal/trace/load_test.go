package trace

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSymbols(t *testing.T) {
	const text = "ffffffff82006060 t __pfx_tw_timer_handler\nffffffff82006070 t tw_timer_handler\nffffffffc0000000 t x\t[some_module]\nffffffff820085b0 t reqsk_timer_handler\n"
	found, err := symbols(strings.NewReader(text), waitHandler, requestHandler)
	if err != nil || found[waitHandler] != 0xffffffff82006070 || found[requestHandler] != 0xffffffff820085b0 {
		t.Errorf("%x, %v", found, err)
	}
	for text, want := range map[string]string{
		"":                                      "there is no tw_timer_handler",
		"ffffffff82006070 t no_such_thing\n":    "there is no tw_timer_handler",
		"0000000000000000 t tw_timer_handler\n": "hidden",
		"xyz t tw_timer_handler\n":              "the address of tw_timer_handler",
		"ffffffff82006070 t tw_timer_handler\n" + strings.Repeat("x", 1<<17) + "\n": "too long",
	} {
		if found, err := symbols(strings.NewReader(text), waitHandler, requestHandler); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %x, %v, want %q", text, found, err, want)
		}
	}
}

// TestUnavailable looks at the messages for what is refused most often.
func TestUnavailable(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{refusedMap(unix.EPERM), "bpf(): operation not permitted (it needs CAP_BPF and CAP_PERFMON, and inside a user namespace nobody has them)"},
		{refusedMap(errors.Join(errors.New("map create"), unix.EINVAL)), "bpf(): invalid argument (ring buffers need Linux 5.8)"},
		{refusedLoad(unix.EPERM), "load the programs that observe sockets: operation not permitted (they need CAP_BPF and CAP_PERFMON, and no lockdown)"},
	} {
		if c.err.Error() != c.want {
			t.Errorf("%v\nwant %s", c.err, c.want)
		}
		if u := (*Unavailable)(nil); !errors.As(c.err, &u) {
			t.Errorf("%v is not an *Unavailable", c.err)
		}
	}
}

// TestOpen loads the programs, or is skipped with what was refused.
func TestOpen(t *testing.T) {
	tracer, err := Open(0)
	if err != nil {
		u := (*Unavailable)(nil)
		if !errors.As(err, &u) {
			t.Fatalf("%v is not an *Unavailable", err)
		}
		t.Skip(err)
	}
	if err := tracer.Close(); err != nil {
		t.Error(err)
	}
}
