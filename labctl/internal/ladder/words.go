package ladder

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"restartlab/labctl/internal/journal"
)

// waits reports whether a call has its result from what others do, and so may
// have begun long before. Such a call stands where it returned.
func waits(c *journal.Syscall) bool { return c.Name == "accept" || c.Name == "read" }

// waited is how long a call must have taken, in ns, for its row to say so.
const waited = 1_000_000

// callText is a call in few words; socket is the name of its socket.
func callText(c *journal.Syscall, socket string) string {
	args := []string{socket}
	a := c.Args
	result := strconv.Itoa(c.Result)
	switch c.Name {
	case "socket":
		args = nil
		result = socket
	case "accept":
		args = nil
		result = socket
	case "setsockopt":
		args = append(args, a.Option, a.Value)
	case "shutdown":
		args = append(args, a.How)
	case "bind", "connect":
		if a.Address.IsValid() {
			args = append(args, a.Address.String())
		}
	case "listen":
		if a.Backlog != nil {
			args = append(args, strconv.Itoa(*a.Backlog))
		}
	case "read":
		if c.Result == 0 && (a.Bytes == nil || *a.Bytes > 0) {
			result = "0, the peer's FIN"
		}
	}
	if c.Failed() {
		result = fmt.Sprintf("%s (%d)", c.Errno, c.Number)
	}
	text := fmt.Sprintf("%s(%s) = %s", c.Name, strings.Join(args, ", "), result)
	if a.Text != "" && !c.Failed() {
		text += " " + strconv.Quote(a.Text)
	}
	if c.Duration >= waited {
		text += " in " + seconds(c.Duration)
	}
	return text
}

func (b *builder) callDetail(e *journal.Event) string {
	c := e.Syscall
	after := " after " + journal.Duration(c.Duration)
	if b.warped {
		after = "" // it would be the number of instructions
	}
	text := fmt.Sprintf("%s: %s on descriptor %d returned %d%s, at %s", processName(e), c.Name, c.FD, c.Result, after, clock(e.T))
	if s := c.Socket; s != nil {
		if s.Local.IsValid() {
			text += ", " + s.Local.String()
		}
		if s.Remote.IsValid() {
			text += " → " + s.Remote.String()
		}
		text += fmt.Sprintf(", cookie %d", s.Cookie)
	}
	return text
}

func changeText(c *journal.Change) string {
	if c.What == "link" {
		return fmt.Sprintf("link %s goes %s", c.Interface, c.State)
	}
	if c.Detail != "" {
		return c.What + " " + c.Detail
	}
	parts := []string{c.What}
	for _, name := range slices.Sorted(maps.Keys(c.Sysctls)) {
		parts = append(parts, name+" = "+c.Sysctls[name])
	}
	return strings.Join(parts, " ")
}

func processName(e *journal.Event) string { return fmt.Sprintf("%s[%d]", e.Program, e.PID) }

// ends is "192.168.44.144:12500 → 192.168.44.145:40112", or one end alone.
func ends(s *Socket) string {
	switch {
	case s.Remote.IsValid():
		return s.Local.String() + " → " + s.Remote.String()
	case s.Local.IsValid():
		return s.Local.String()
	}
	return "no address yet"
}

func timeLeft(row journal.Socket) string {
	if row.TimeLeft == nil {
		return ""
	}
	return fmt.Sprintf(", %.1f s left", float64(*row.TimeLeft)/1000)
}

// seconds is a time in few digits: "60.1 s", "34.7 ms", "45 µs".
func seconds(ns int64) string {
	switch {
	case ns >= 1_000_000_000:
		return fmt.Sprintf("%.1f s", float64(ns)/1e9)
	case ns >= 1_000_000:
		return fmt.Sprintf("%.1f ms", float64(ns)/1e6)
	}
	return fmt.Sprintf("%d µs", ns/1000)
}

// clock is a time since the run's start in seconds, to the microsecond.
func clock(ns int64) string { return fmt.Sprintf("%.6f", float64(ns)/1e9) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if strings.HasSuffix(what, "s") {
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// longest bounds a text of the picture, in characters.
const longest = 2000

// visible makes characters seen that would not print as themselves, and leaves
// none that XML forbids.
func visible(s string) string {
	var b strings.Builder
	n := 0
	for _, c := range s { // invalid bytes come as U+FFFD
		if n++; n > longest {
			b.WriteString("…")
			break
		}
		switch {
		case c == '\t':
			b.WriteByte(' ')
		case c < 0x20:
			b.WriteRune(0x2400 + c) // SYMBOL FOR ...
		case c == 0x7f:
			b.WriteRune(0x2421)
		case unicode.In(c, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control, unicode.Noncharacter_Code_Point), c == 0xfeff:
			fmt.Fprintf(&b, "<U+%04X>", c)
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// cells is how many columns of a terminal a text takes.
func cells(s string) int {
	n := 0
	for _, c := range s {
		n += width(c)
	}
	return n
}

func width(c rune) int {
	switch {
	case c < 0x7f:
		return 1
	case unicode.In(c, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case c >= 0x1100 && c <= 0x115f || c >= 0x2e80 && c <= 0xa4cf || c >= 0xac00 && c <= 0xd7a3 || c >= 0xf900 && c <= 0xfaff ||
		c >= 0xfe30 && c <= 0xfe6f || c >= 0xff00 && c <= 0xff60 || c >= 0xffe0 && c <= 0xffe6 || c >= 0x1f300 && c <= 0x1faff || c >= 0x20000 && c <= 0x3fffd:
		return 2
	}
	return 1
}

// fit cuts a text to at most n cells, with a mark where it was cut.
func fit(s string, n int) string {
	if cells(s) <= n {
		return s
	}
	used := 1
	for i, c := range s {
		if used += width(c); used > n {
			return s[:i] + "…"
		}
	}
	return s
}

// fitEnds cuts a text to at most n cells. Of a call it keeps the result.
func fitEnds(s string, n int) string {
	at := strings.LastIndex(s, ") = ")
	if at < 0 || cells(s) <= n || cells(s[at:]) > n/2 {
		return fit(s, n)
	}
	return fit(s[:at], n-cells(s[at:])) + s[at:]
}

// split cuts a text into a first part of at most n cells, at a space if one is
// near, and the rest.
func split(s string, n int) (first, rest string) {
	if cells(s) <= n {
		return s, ""
	}
	used, cut := 0, 0
	for i, c := range s {
		if used += width(c); used > n {
			cut = i
			break
		}
	}
	if cut == 0 {
		_, cut = utf8.DecodeRuneInString(s)
	}
	if at := strings.LastIndexByte(s[:cut], ' '); at > cut/2 {
		return s[:at], s[at+1:]
	}
	return s[:cut], s[cut:]
}
