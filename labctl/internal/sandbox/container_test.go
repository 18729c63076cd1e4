package sandbox

import (
	"strings"
	"testing"
	"testing/fstest"
)

// Each place has one message with the line that is missing.
func TestWaysInAContainer(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	const ownRoot, mapped = "         0          0 4294967295\n", "         0       1000          1\n         1     100000      65536\n"
	for name, c := range map[string]struct {
		files   fstest.MapFS
		release string
		uid     int
		missing []string
		where   string
		want    []string
	}{
		"a machine": {fstest.MapFS{"proc/self/uid_map": file(ownRoot)}, "6.1.0", 0, nil, "on this machine", nil},
		"docker, no capabilities": {fstest.MapFS{".dockerenv": file(""), "proc/self/uid_map": file(ownRoot)}, "6.1.0", 0, []string{"NET_ADMIN", "SYS_ADMIN"}, "in this container",
			[]string{`cap_add: [NET_ADMIN, SYS_ADMIN], security_opt: ["apparmor=unconfined"] (it lacks NET_ADMIN and SYS_ADMIN)`,
				"docker run --cap-add NET_ADMIN --cap-add SYS_ADMIN --security-opt apparmor=unconfined ..."}},
		"docker, not its root": {fstest.MapFS{".dockerenv": file(""), "proc/self/uid_map": file(ownRoot)}, "6.1.0", 1000, []string{"NET_ADMIN", "SYS_ADMIN"}, "in this container",
			[]string{`user: "0:0" (a container's capabilities go to its root alone)`, "--user 0:0 ..."}},
		"rootless podman": {fstest.MapFS{"run/.containerenv": file(""), "proc/self/uid_map": file(mapped)}, "6.1.0", 0, []string{"NET_ADMIN", "SYS_ADMIN"}, "in this container",
			[]string{`security_opt: ["unmask=ALL"]`, "podman run --cap-add NET_ADMIN --cap-add SYS_ADMIN --security-opt unmask=ALL ...", "or without a container"}},
		"podman": {fstest.MapFS{"run/.containerenv": file(""), "proc/self/uid_map": file(ownRoot)}, "6.1.0", 0, nil, "in this container",
			[]string{`security_opt: ["apparmor=unconfined"]`, "podman run"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := surroundingsIn(c.files, c.release)
			s.uid, s.missing = c.uid, c.missing
			if s.where() != c.where {
				t.Errorf("it is %s, want %s", s.where(), c.where)
			}
			if !s.container {
				return
			}
			ways := strings.Join(s.ways(), "\n")
			for _, want := range c.want {
				if !strings.Contains(ways, want) {
					t.Errorf("no %q in:\n%s", want, ways)
				}
			}
		})
	}
	if !surroundingsIn(fstest.MapFS{}, "6.10.14-linuxkit").desktop || surroundingsIn(fstest.MapFS{}, "6.10.14").desktop {
		t.Error("Docker Desktop's kernel is told by its release")
	}
}
