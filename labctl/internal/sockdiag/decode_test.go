package sockdiag

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// The files of testdata are messages that a kernel sent (Linux 6.18, x86-64)
// in hexadecimal, an empty line, and what they mean in JSON.
// "go test -run TestTableOfARealKernel -update" records them again.

func recorded(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no recorded messages: %v", err)
	}
	m := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		m[strings.TrimSuffix(filepath.Base(f), ".txt")] = b
	}
	return m
}

func split(t testing.TB, file []byte) (message, meaning []byte) {
	t.Helper()
	digits, text, ok := strings.Cut(string(file), "\n\n")
	message, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
	if !ok || err != nil {
		t.Fatalf("not a recorded message: %v", err)
	}
	return message, []byte(text)
}

func skipUnlessLittleEndian(t testing.TB) {
	t.Helper()
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the recorded bytes are in the order of another machine")
	}
}

func TestDecodeRecordedMessages(t *testing.T) {
	skipUnlessLittleEndian(t)
	for name, file := range recorded(t) {
		t.Run(name, func(t *testing.T) {
			message, meaning := split(t, file)
			var want journal.Socket
			if err := json.Unmarshal(meaning, &want); err != nil {
				t.Fatal(err)
			}
			got, err := Decode(message)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for n := range len(message) {
				if n < messageLen {
					if _, err := Decode(message[:n]); err == nil {
						t.Errorf("%d bytes of it were decoded", n)
					}
				} else {
					Decode(message[:n]) // must only not panic
				}
			}
		})
	}
}

// message makes an inet_diag_msg by hand, after linux/inet_diag.h.
func message(change func(b []byte)) []byte {
	b := make([]byte, messageLen)
	b[0], b[1] = unix.AF_INET, 1
	copy(b[4:], []byte{0x30, 0xd4, 0x9c, 0x40})            // ports 12500, 40000
	copy(b[8:], []byte{192, 168, 44, 144, 15: 0})          // id.idiag_src
	copy(b[24:], []byte{192, 168, 44, 145, 15: 0})         // id.idiag_dst
	binary.NativeEndian.PutUint32(b[44:], 0x22222222)      // id.idiag_cookie
	binary.NativeEndian.PutUint32(b[48:], 0x11111111)      //
	for i, v := range []uint32{61440, 3, 5, 1000, 98765} { // expires, rqueue, wqueue, uid, inode
		binary.NativeEndian.PutUint32(b[52+4*i:], v)
	}
	if change != nil {
		change(b)
	}
	return b
}

func attribute(typ uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func TestDecode(t *testing.T) {
	left, yes := int64(61440), true
	plain := journal.Socket{Family: "tcp", State: "ESTABLISHED",
		Local: netip.MustParseAddrPort("192.168.44.144:12500"), Remote: netip.MustParseAddrPort("192.168.44.145:40000"),
		RecvQ: 3, SendQ: 5, UID: 1000, Inode: 98765, Cookie: 0x1111111122222222}
	with := func(f func(s *journal.Socket)) journal.Socket { s := plain; f(&s); return s }
	tests := []struct {
		name    string
		message []byte
		want    journal.Socket
		err     string
	}{
		{"plain", message(nil), plain, ""},
		{"unknown attributes around the known one", append(append(append(message(nil),
			attribute(8, 3)...), attribute(attributeV6Only, 1)...), attribute(999, 1, 2, 3, 4, 5)...),
			with(func(s *journal.Socket) { s.V6Only = &yes }), ""},
		{"an empty attribute", append(message(nil), attribute(attributeV6Only)...), plain, ""},
		{"time left", message(func(b []byte) { b[1], b[2] = 6, 3 }),
			with(func(s *journal.Socket) { s.State, s.Timer, s.TimeLeft = "TIME_WAIT", "timewait", &left }), ""},
		{"a timer of the future", message(func(b []byte) { b[2] = 9 }),
			with(func(s *journal.Socket) { s.Timer, s.TimeLeft = "timer 9", &left }), ""},
		{"bound", message(func(b []byte) { b[1], b[6], b[7] = 7, 0, 0 }),
			with(func(s *journal.Socket) { s.State, s.Remote = "BOUND", netip.AddrPort{} }), ""},
		{"closed", message(func(b []byte) { b[1] = 7; copy(b[4:], []byte{0, 0, 0, 0}) }),
			with(func(s *journal.Socket) {
				s.State, s.Local, s.Remote = "CLOSE", netip.AddrPortFrom(s.Local.Addr(), 0), netip.AddrPort{}
			}), ""},
		{"mapped", message(func(b []byte) {
			b[0] = unix.AF_INET6
			copy(b[8:], []byte{10: 0xff, 0xff, 192, 168, 44, 144})
			copy(b[24:], []byte{10: 0xff, 0xff, 192, 168, 44, 145})
		}), with(func(s *journal.Socket) {
			s.Family = "tcp6"
			s.Local, s.Remote = netip.MustParseAddrPort("[::ffff:192.168.44.144]:12500"), netip.MustParseAddrPort("[::ffff:192.168.44.145]:40000")
		}), ""},
		{"on a device, retransmitted", message(func(b []byte) { b[3] = 4; binary.NativeEndian.PutUint32(b[40:], 20) }),
			with(func(s *journal.Socket) { s.Retrans, s.Interface = 4, 20 }), ""},

		{"nothing", nil, journal.Socket{}, "a socket of 0 bytes"},
		{"one byte short", message(nil)[:messageLen-1], journal.Socket{}, "a socket of 71 bytes"},
		{"another family", message(func(b []byte) { b[0] = unix.AF_UNIX }), journal.Socket{}, "address family 1"},
		{"state 0", message(func(b []byte) { b[1] = 0 }), journal.Socket{}, "state 0"},
		{"state 14", message(func(b []byte) { b[1] = 14 }), journal.Socket{}, "state 14"},
		{"a long attribute", append(message(nil), 9, 0, 11, 0, 1, 0, 0, 0), journal.Socket{}, "attribute of 9 bytes, of which 8"},
		{"an attribute of no length", append(message(nil), 0, 0, 11, 0, 1, 0, 0, 0), journal.Socket{}, "attribute of 0 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if strings.Contains(tt.name, " attribute") && tt.err != "" {
				skipUnlessLittleEndian(t)
			}
			got, err := Decode(tt.message)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("got %v, want %q", err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, file := range recorded(f) {
		m, _ := split(f, file)
		f.Add(m)
	}
	f.Add(append(message(nil), attribute(attributeV6Only, 1)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Decode(b)
		if err != nil {
			if s != (journal.Socket{}) {
				t.Errorf("%v, and yet %+v", err, s)
			}
			return
		}
		if s.Family == "" || s.State == "" || !s.Local.IsValid() || (s.Timer == "") != (s.TimeLeft == nil) {
			t.Errorf("half a socket: %+v", s)
		}
		if _, err := json.Marshal(s); err != nil {
			t.Errorf("the journal cannot hold it: %v", err)
		}
	})
}

// datagram packs messages as the kernel does.
func datagram(messages ...[]byte) []byte {
	var b []byte
	for _, m := range messages {
		b = append(b, m...)
	}
	return b
}

func netlinkMessage(typ, flags uint16, seq uint32, body []byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(headerLen+len(body)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = append(binary.NativeEndian.AppendUint32(b, 0), body...)
	return append(b, make([]byte, -len(b)&3)...)
}

func errnoBody(e unix.Errno) []byte {
	return binary.NativeEndian.AppendUint32(nil, uint32(-int32(e)))
}

func TestAnswer(t *testing.T) {
	const seq = 7
	row := netlinkMessage(byFamily, unix.NLM_F_MULTI, seq, message(nil))
	done := netlinkMessage(unix.NLMSG_DONE, unix.NLM_F_MULTI, seq, errnoBody(0))
	tests := []struct {
		name  string
		reads [][]byte
		one   bool

		rows        int
		done        bool
		interrupted bool
		err         string
		errno       error
	}{
		{name: "empty table", reads: [][]byte{done}, done: true},
		{name: "an end without a number", reads: [][]byte{netlinkMessage(unix.NLMSG_DONE, 0, seq, nil)}, done: true},
		{name: "rows over several reads", reads: [][]byte{datagram(row, row), datagram(row, done)}, rows: 3, done: true},
		{name: "not yet complete", reads: [][]byte{datagram(row, row)}, rows: 2},
		{name: "one asked for", reads: [][]byte{row}, one: true, rows: 1, done: true},
		{name: "none there", reads: [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, seq, errnoBody(unix.ENOENT))}, one: true, done: true, errno: unix.ENOENT},
		{name: "refused", reads: [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, seq, errnoBody(unix.EPERM))}, done: true, errno: unix.EPERM},
		{name: "acknowledged", reads: [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, seq, errnoBody(0))}, done: true},
		{name: "an error without a number", reads: [][]byte{netlinkMessage(unix.NLMSG_ERROR, 0, seq, []byte{1})}, done: true, err: "error without a number"},
		{name: "failed half-way", reads: [][]byte{row, netlinkMessage(unix.NLMSG_DONE, 0, seq, errnoBody(unix.ENOMEM))}, rows: 1, done: true, errno: unix.ENOMEM},
		{name: "inconsistent", reads: [][]byte{datagram(netlinkMessage(byFamily, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, seq, message(nil)), done)}, rows: 1, done: true, interrupted: true},
		{name: "the rest of another answer", reads: [][]byte{datagram(netlinkMessage(byFamily, 0, seq-1, message(nil)), netlinkMessage(unix.NLMSG_DONE, 0, seq-1, nil)), datagram(row, done)}, rows: 1, done: true},
		{name: "a bad row does not hide the others", reads: [][]byte{datagram(row, netlinkMessage(byFamily, 0, seq, []byte{1, 2, 3}), row, done)}, rows: 2, done: true, err: "a socket of 3 bytes"},
		{name: "an unknown message", reads: [][]byte{datagram(netlinkMessage(99, 0, seq, nil), done)}, done: true, err: "type 99"},
		{name: "nothing to say", reads: [][]byte{datagram(netlinkMessage(unix.NLMSG_NOOP, 0, seq, nil), done)}, done: true},
		{name: "cut short", reads: [][]byte{row[:len(row)-1]}, err: "of which 87 are there"},
		{name: "cut in the header", reads: [][]byte{row[:10]}, err: "10 bytes after the last message"},
		{name: "one, cut short", reads: [][]byte{row[:20]}, one: true, done: true, err: "of which 20 are there"},
		{name: "a length of 0", reads: [][]byte{make([]byte, 64)}, err: "a message of 0 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := answer{seq: seq, one: tt.one}
			done := false
			for _, b := range tt.reads {
				if done {
					t.Fatal("complete before the last read")
				}
				done = a.add(b)
			}
			if done != tt.done || len(a.rows) != tt.rows || a.interrupted != tt.interrupted {
				t.Errorf("done %v, %d rows, interrupted %v", done, len(a.rows), a.interrupted)
			}
			switch {
			case tt.errno != nil:
				if !errors.Is(a.err, tt.errno) {
					t.Errorf("error %v, want %v", a.err, tt.errno)
				}
			case (tt.err == "") != (a.err == nil), a.err != nil && !strings.Contains(a.err.Error(), tt.err):
				t.Errorf("error %v, want %q", a.err, tt.err)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	row := netlinkMessage(byFamily, unix.NLM_F_MULTI, 7, message(nil))
	f.Add(row, false)
	f.Add(datagram(row, row, netlinkMessage(unix.NLMSG_DONE, 0, 7, errnoBody(unix.ENOMEM))), false)
	f.Add(netlinkMessage(unix.NLMSG_ERROR, 0, 7, errnoBody(unix.ENOENT)), true)
	f.Fuzz(func(t *testing.T, b []byte, one bool) {
		a := answer{seq: 7, one: one}
		a.add(b)
		if len(a.rows)*messageLen > len(b) {
			t.Errorf("%d rows from %d bytes", len(a.rows), len(b))
		}
	})
}
