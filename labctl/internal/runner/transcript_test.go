package runner

import (
	"strings"
	"testing"
)

func TestTranscript(t *testing.T) {
	for _, test := range []struct {
		name, typed, want string
		columns           int
	}{
		{"lines", "one\r\ntwo\r\n", "one|two|", 80},
		{"an unfinished line", "$ ", "", 80},
		{"colours", "\x1b[1;32mok\x1b[0m done\n", "ok done|", 80},
		{"a title", "\x1b]0;root@vm: ~\x07$ ls\n", "$ ls|", 80},
		{"taken back", "$ lz\b \b\bls\r\n", "$ ls|", 80},
		{"readline's deletion", "$ lxs\b\b\x1b[1Ps\n", "$ ls|", 80},
		{"readline's insertion", "$ ac\b\x1b[1@b\n", "$ abc|", 80},
		{"written anew", "10%\r20%\r\x1b[Kdone\n", "done|", 80},
		{"a bar that shrinks", "long text\rshort\x1b[K\n", "short|", 80},
		{"a tab", "a\tb\n", "a       b|", 80},
		{"an editor", "$ vi x\r\n\x1b[?1049h\x1b[2J\x1b[Hall of it\r\n~\r\n\x1b[?1049l$ ls\r\n", "$ vi x|$ ls|", 80},
		{"a line over two rows", "$ 345678901\r\r\n", "$ 345678901|", 10},
		{"readline at the edge", "$ 34567890 \r1\r\n", "$ 345678901|", 10},
		{"no width known", "$ 34567890123\n", "$ 34567890123|", 0},
		{"Chinese", "你好\n", "你好|", 80},
		{"cursor", "abc\x1b[2DX\x1b[CY\n", "aXcY|", 80},
		{"broken bytes", "a\xffb\n", "a\uFFFDb|", 80},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, size := range []int{len(test.typed), 1, 2, 3} { // however it comes
				var tr transcript
				var got strings.Builder
				for rest := test.typed; rest != ""; {
					n := min(size, len(rest))
					got.Write(tr.text([]byte(rest[:n]), test.columns))
					rest = rest[n:]
				}
				if s := strings.ReplaceAll(got.String(), "\n", "|"); s != test.want {
					t.Errorf("in pieces of %d: %q, want %q", size, s, test.want)
				}
			}
		})
	}
}

// FuzzTranscript: any bytes, in any pieces, give lines without control characters,
// and no more of them than there were, and memory stays bounded.
func FuzzTranscript(f *testing.F) {
	f.Add([]byte("$ ls\r\n\x1b[?1049h\x1b[2J\x1b[?1049l\x1b]0;t\x07a\bb\x1b[3@\x1b[2P\x1b[A\n"), 80, 3)
	f.Fuzz(func(t *testing.T, data []byte, columns, size int) {
		var tr transcript
		lines := 0
		for rest := data; len(rest) > 0; {
			n := min(max(size, 1), len(rest))
			for _, c := range tr.text(rest[:n], columns) {
				if c == '\n' {
					lines++
				} else if c < 0x20 || c == 0x7f {
					t.Fatalf("%q gives the byte %#x", data, c)
				}
			}
			rest = rest[n:]
			if len(tr.line) > longest || len(tr.pending) > longestSequence+utfMost {
				t.Fatalf("%d characters, %d bytes are kept", len(tr.line), len(tr.pending))
			}
		}
		if lines > strings.Count(string(data), "\n") {
			t.Fatalf("%q gives %d lines", data, lines)
		}
	})
}

const utfMost = 4
