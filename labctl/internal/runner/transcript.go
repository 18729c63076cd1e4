package runner

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// transcript turns what a program writes to a terminal into the lines that a
// person saw: typed characters that were taken back are gone, escape sequences do
// what they do to a line, and a program that has the whole screen (an editor) is
// left out. It is safe to feed any bytes.
type transcript struct {
	line    []rune
	at      int  // where the next character goes, in line
	row     int  // where the present row of the screen begins, in line
	screen  bool // a program has the whole screen
	pending []byte
}

// longestSequence bounds what is taken for one escape sequence.
const longestSequence = 4096

// text takes the bytes and returns the lines that are complete, each with its end.
// columns is the terminal's width, 0 if it is not known.
func (t *transcript) text(data []byte, columns int) []byte {
	var out bytes.Buffer
	data = append(t.pending, data...)
	t.pending = nil
	for len(data) > 0 {
		n := t.next(data, columns, &out)
		if n == 0 { // a sequence or character that goes on
			t.pending = bytes.Clone(data)
			break
		}
		data = data[n:]
	}
	return out.Bytes()
}

// next takes one character or sequence and returns its length, 0 if its end is not
// there yet.
func (t *transcript) next(data []byte, columns int, out *bytes.Buffer) int {
	switch c := data[0]; {
	case c == 0x1b:
		return t.escape(data, columns)
	case c == '\n':
		t.end(out)
		return 1
	case c == '\r':
		t.at = t.row
		return 1
	case c == '\b':
		t.at = max(t.at-1, 0)
		return 1
	case c == '\t':
		for range 8 - (t.at-t.row)%8 {
			t.put(' ', columns)
		}
		return 1
	case c < 0x20 || c == 0x7f:
		return 1
	}
	if !utf8.FullRune(data) {
		return 0
	}
	r, n := utf8.DecodeRune(data)
	t.put(r, columns)
	return n
}

// put writes a character where the cursor is. At the end of a row the next begins.
func (t *transcript) put(r rune, columns int) {
	if t.screen {
		return
	}
	if columns > 0 && t.at-t.row >= columns {
		t.row += columns
		t.at = t.row
	}
	t.room(t.at + 1)
	if t.at < len(t.line) {
		t.line[t.at] = r
		t.at++
	}
}

// room makes the line as long as n, within bounds.
func (t *transcript) room(n int) {
	for len(t.line) < min(n, longest) {
		t.line = append(t.line, ' ')
	}
}

// end is the end of a line.
func (t *transcript) end(out *bytes.Buffer) {
	if !t.screen {
		out.WriteString(string(bytes.TrimRight([]byte(string(t.line)), " ")))
		out.WriteByte('\n')
	}
	t.line, t.at, t.row = t.line[:0], 0, 0
}

// escape takes an escape sequence (ECMA-48).
func (t *transcript) escape(data []byte, columns int) int {
	if len(data) < 2 {
		return 0
	}
	switch data[1] {
	case '[':
		for i := 2; i < len(data); i++ {
			if data[i] >= 0x40 && data[i] <= 0x7e {
				t.control(string(data[2:i]), data[i], columns)
				return i + 1
			}
			if i > longestSequence {
				return i
			}
		}
		return unfinished(data)
	case ']', 'P', '_', '^', 'X': // strings, up to BEL or ST
		for i := 2; i < len(data); i++ {
			if data[i] == 0x07 {
				return i + 1
			}
			if data[i] == 0x1b && i+1 < len(data) {
				return i + 2 // ST, or what breaks the string off
			}
			if i > longestSequence {
				return i
			}
		}
		return unfinished(data)
	case '(', ')', '#', '%':
		if len(data) < 3 {
			return 0
		}
		return 3
	}
	return 2
}

// unfinished waits for more, within bounds.
func unfinished(data []byte) int {
	if len(data) > longestSequence {
		return len(data)
	}
	return 0
}

// control does what a control sequence does to the line.
func (t *transcript) control(parameters string, final byte, columns int) {
	switch parameters {
	case "?1049", "?1047", "?47": // the other screen, which editors have
		if final == 'h' || final == 'l' {
			t.screen = final == 'h'
			t.line, t.at, t.row = t.line[:0], 0, 0
		}
		return
	}
	n, err := strconv.Atoi(parameters)
	if err != nil || n < 1 {
		n = 1
	}
	n = min(n, longest)
	if t.screen {
		return
	}
	switch final {
	case 'K': // erase in line
		switch parameters {
		case "", "0":
			t.line = t.line[:min(t.at, len(t.line))]
		case "2":
			t.line = t.line[:min(t.row, len(t.line))]
		}
	case 'C':
		t.at = min(t.at+n, longest)
	case 'D':
		t.at = max(t.at-n, t.row)
	case 'G':
		t.at = min(t.row+n-1, longest)
	case 'A':
		if columns > 0 && t.row >= n*columns {
			t.row, t.at = t.row-n*columns, max(t.at-n*columns, 0)
		}
	case 'P': // delete characters
		if t.at < len(t.line) {
			t.line = append(t.line[:t.at], t.line[min(t.at+n, len(t.line)):]...)
		}
	case '@': // insert blanks
		if t.at < len(t.line) {
			rest := append([]rune{}, t.line[t.at:]...)
			t.room(len(t.line) + n)
			for i := range n {
				if t.at+i < len(t.line) {
					t.line[t.at+i] = ' '
				}
			}
			if t.at+n < len(t.line) {
				copy(t.line[t.at+n:], rest)
			}
		}
	}
}
