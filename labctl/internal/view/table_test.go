package view

import (
	"bytes"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTablesGolden(t *testing.T) {
	rows := []Row{
		{Name: "timewait", Text: "Why can the server not restart for a minute?"},
		{Name: "surviving-child-reuseaddr", Text: "Does SO_REUSEADDR help a server whose child still serves a connection that the dead parent had accepted?"},
		{Name: "中文", Text: "重启的服务器为什么不能立即绑定同一个端口，而必须等待大约一分钟，直到内核释放它为止？这是一个常见的问题。"},
		{Name: "odd", Text: "a\x1b[2Jb\nc"},
		{Name: "empty", Text: ""},
	}
	checks := []Check{
		{"network namespaces", true, "made one, joined two hosts by a link"},
		{"capabilities", false, "unshare(CLONE_NEWUSER) answered EPERM: this kernel keeps user namespaces from ordinary users; run as root, or set kernel.unprivileged_userns_clone=1"},
		{"sockets that are bound but do not listen, in the table", true, "Linux 6.18"},
		{"wait", false, ""},
	}
	for kind, o := range terminals {
		t.Run(kind, func(t *testing.T) {
			var b bytes.Buffer
			List(&b, o, rows)
			b.WriteByte('\n')
			Checks(&b, o, checks)
			plainText(t, b.String(), o.Width)
			golden(t, "tables-"+kind, b.String())
		})
	}
}

func TestEnvironment(t *testing.T) {
	tty := map[string]string{"TERM": "xterm-256color", "LANG": "en_US.UTF-8"}
	for _, c := range []struct {
		name     string
		terminal bool
		set      map[string]string
		want     Options
	}{
		{"terminal", true, nil, Options{Color: true, Animate: true}},
		{"pipe", false, nil, Options{}},
		{"NO_COLOR", true, map[string]string{"NO_COLOR": "yes"}, Options{Animate: true}},
		{"NO_COLOR empty", true, map[string]string{"NO_COLOR": ""}, Options{Color: true, Animate: true}},
		{"dumb", true, map[string]string{"TERM": "dumb"}, Options{}},
		{"no TERM", true, map[string]string{"TERM": ""}, Options{}},
		{"COLORTERM alone", true, map[string]string{"TERM": "", "COLORTERM": "truecolor"}, Options{Color: true, Animate: true}},
		{"forced", false, map[string]string{"CLICOLOR_FORCE": "1"}, Options{Color: true}},
		{"forced and refused", false, map[string]string{"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, Options{}},
		{"C locale", false, map[string]string{"LC_ALL": "C"}, Options{ASCII: true}},
		{"no locale", false, map[string]string{"LANG": ""}, Options{ASCII: true}},
		{"C.utf8", false, map[string]string{"LC_ALL": "C.utf8"}, Options{}},
		{"LC_CTYPE before LANG", false, map[string]string{"LC_CTYPE": "POSIX"}, Options{ASCII: true}},
		{"Chinese", false, map[string]string{"LANG": "zh_CN.UTF-8"}, Options{Chinese: true}},
	} {
		env := maps.Clone(tty)
		maps.Copy(env, c.set)
		got := environment(func(k string) string { return env[k] }, c.terminal)
		if d := cmp.Diff(c.want, got, cmp.AllowUnexported(Options{})); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}
