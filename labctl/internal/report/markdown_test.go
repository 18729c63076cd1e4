package report

import "testing"

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		"net.ipv4.tcp_tw_reuse = 2": "net.ipv4.tcp_tw_reuse = 2",
		"_emphasis_ and SO_LINGER":  `\_emphasis\_ and SO_LINGER`,
		"*a* `b` ~~c~~ d|e":         `\*a\* ` + "\\`b\\`" + ` \~\~c\~\~ d\|e`,
		"# heading #41":             `\# heading #41`,
		"[::]:12500":                "[::]:12500",
		"[a](http://b)":             `\[a\](http://b)`,
		"<b>&amp;":                  "&lt;b>&amp;amp;",
		" two\n lines\t":            "two lines",
		`C:\new`:                    `C:\\new`,
		"\x1b[31m\u202e\x7f\u0080":  "␛[31m&lt;U+202E>␡&lt;U+0080>",
		"invalid \xff byte":         "invalid \uFFFD byte",
	} {
		if got := plain(in); got != want {
			t.Errorf("plain(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestShell(t *testing.T) {
	for in, want := range map[string]string{
		"labctl": "labctl", "": "''", "a b": "'a b'", "it's": `'it'\''s'`, "$(rm)": "'$(rm)'", "port=12500": "port=12500", "~": "'~'",
	} {
		if got := shell(in); got != want {
			t.Errorf("shell(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestUnwrap(t *testing.T) {
	for in, want := range map[string]string{
		"one\ntwo":         "one two",
		"先关闭的一方\n要把连接":     "先关闭的一方要把连接",
		"端口，\n但是":          "端口，但是",
		"处于 TIME_WAIT\n状态": "处于 TIME_WAIT 状态",
	} {
		if got := unwrap(in); got != want {
			t.Errorf("unwrap(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFlow(t *testing.T) {
	for in, want := range map[string]string{
		`"any"`: "any",
		`{}`:    "{}",
		`{"bind":"EADDRINUSE","holders":{"TIME_WAIT":1}}`: "bind: EADDRINUSE, holders: {TIME_WAIT: 1}",
		`{"states":{},"took":{"min":"60s","max":"66s"}}`:  "states: {}, took: {min: 60s, max: 66s}",
		`{"lines":["a, b",""]}`:                           `lines: ["a, b", ""]`,
		`{"exit":0,"queued":{"min":1}}`:                   "exit: 0, queued: {min: 1}",
		`{"cut`:                                           `{"cut`,
	} {
		if got := flow([]byte(in)); got != want {
			t.Errorf("flow(%s) = %q, want %q", in, got, want)
		}
	}
}
