package occupant

import (
	"strings"
	"testing"
)

func TestGroup(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for _, test := range []struct{ text, unit, manager, engine, container string }{
		{text: "0::/\n"},
		{text: "0::/system.slice/nginx.service\n", unit: "nginx.service"},
		{text: "0::/user.slice/user-1000.slice/session-3.scope\n"},
		{text: "0::/user.slice/user-1000.slice/user@1000.service/app.slice/web.service\n", unit: "web.service", manager: "user"},
		{text: "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n"},
		{text: "0::/system.slice/docker-" + id + ".scope\n", engine: "docker", container: id},
		{text: "0::/docker/" + id + "\n", engine: "docker", container: id},
		{text: "0::/machine.slice/libpod-" + id + ".scope\n", engine: "podman", container: id},
		{text: "0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-" + id + ".scope\n", engine: "kubernetes", container: id},
		{text: "0::/kubepods/besteffort/pod12/" + id + "\n", engine: "kubernetes", container: id},
		{text: "0::/lxc.payload.web/system.slice/nginx.service\n", unit: "nginx.service", engine: "lxc", container: "web"},
		{text: "0::/lxc/web\n", engine: "lxc", container: "web"},
		{text: "12:cpu:/x\n1:name=systemd:/system.slice/ssh.service\n0::/\n", unit: "ssh.service"},
		{text: "nonsense"},
		{text: ""},
	} {
		unit, manager, engine, container := group(test.text)
		if unit != test.unit || manager != test.manager || engine != test.engine || container != test.container {
			t.Errorf("%q: %q %q %q %q, want %q %q %q %q", test.text, unit, manager, engine, container,
				test.unit, test.manager, test.engine, test.container)
		}
	}
}

func TestMountedNamespace(t *testing.T) {
	for line, want := range map[string]string{
		"92 31 0:4 net:[4026532266] /run/netns/blue rw shared:49 - nsfs nsfs rw":       "/run/netns/blue",
		`93 31 0:4 net:[4026532267] /run/my\040netns/a rw shared:50 - nsfs nsfs rw`:    "/run/my netns/a",
		"94 31 0:4 mnt:[4026532268] /run/snapd/ns/lxd.mnt rw shared:51 - nsfs nsfs rw": "",
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw":               "",
		"": "",
	} {
		if got, ok := mountedNamespace(line); got != want || ok != (want != "") {
			t.Errorf("%q: %q %v, want %q", line, got, ok, want)
		}
	}
}

func TestWithin(t *testing.T) {
	for _, test := range []struct {
		port uint16
		list string
		want bool
	}{{80, "", false}, {80, "80", true}, {80, "79,81", false}, {80, "1,70-90", true}, {80, "90-70", false}, {80, "x-y,80", true}} {
		if got := within(test.port, test.list); got != test.want {
			t.Errorf("within(%d, %q) = %v", test.port, test.list, got)
		}
	}
}

func TestArguments(t *testing.T) {
	if got := arguments([]byte("nginx: master\x00-g\x00\x00x\x00")); strings.Join(got, "|") != "nginx: master|-g||x" {
		t.Errorf("%q", got)
	}
}

// FuzzProc gives the parsers of /proc any text: they must come to an end, and
// without a panic.
func FuzzProc(f *testing.F) {
	f.Add("0::/system.slice/docker-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef.scope\n")
	f.Add(`93 31 0:4 net:[4026532267] /run/my\040netns/a rw`)
	f.Add("socket:[12]")
	f.Add("80,90-100")
	f.Fuzz(func(t *testing.T, text string) {
		group(text)
		mountedNamespace(text)
		socketInode(text)
		arguments([]byte(text))
		within(80, text)
	})
}
