package netlab

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/netlab/netlabtest"
	"restartlab/labctl/internal/scenario"
)

func TestSysctlPath(t *testing.T) {
	tests := []struct{ name, want string }{
		{"net.ipv4.tcp_fin_timeout", "/proc/sys/net/ipv4/tcp_fin_timeout"},
		{"net.ipv4.conf.eth0.rp_filter", "/proc/sys/net/ipv4/conf/eth0/rp_filter"},
		{"net.ipv4.conf.eth0/1.rp_filter", "/proc/sys/net/ipv4/conf/eth0.1/rp_filter"},
		{"kernel.hostname", ""},
		{"net", ""},
		{"net.", ""},
		{"net.ipv4", ""},
		{"", ""},
		{"net/ipv4/tcp_fin_timeout", ""},
		{"net.ipv4..tcp_fin_timeout", ""},
		{"net.ipv4.//.//.kernel.hostname", ""},
		{"net.../kernel.hostname", ""},
		{"net.ipv4./.tcp_fin_timeout", ""},
		{"net.ipv4.tcp_fin_timeout\x00", ""},
		{"Net.ipv4.tcp_fin_timeout", ""},
	}
	for _, tt := range tests {
		got, err := sysctlPath(tt.name)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: %q, %v", tt.name, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "net.ipv4.tcp_fin_timeout") {
			t.Errorf("%q: the error shows no right name: %v", tt.name, err)
		}
	}
}

func FuzzSysctlPath(f *testing.F) {
	f.Add("net.ipv4.conf.eth0/1.rp_filter")
	f.Add("net.ipv4.//.//.kernel.hostname")
	f.Fuzz(func(t *testing.T, name string) {
		path, err := sysctlPath(name)
		if err != nil {
			return
		}
		if !strings.HasPrefix(path, "/proc/sys/net/") {
			t.Errorf("%q leads to %q", name, path)
		}
		for part := range strings.SplitSeq(path[1:], "/") {
			if part == "" || part == "." || part == ".." {
				t.Errorf("%q leads to %q", name, path)
			}
		}
	})
}

func TestSysctlsOfAHost(t *testing.T) {
	netlabtest.Need(t)
	hosts := pair()
	hosts[0].Sysctls = []scenario.Sysctl{
		{Name: "net.ipv4.conf.eth0.arp_announce", Value: "1"}, // exists only once the link does
		{Name: "net.ipv4.tcp_fin_timeout", Value: "3"},
		{Name: "net.ipv4.tcp_fin_timeout", Value: "7"}, // the later one counts
		{Name: "net.ipv4.tcp_congestion_control", Value: "reno"},
		{Name: "net.ipv6.conf.default.hop_limit", Value: "33"}, // eth0 comes up with it
	}
	n := newNetwork(t, hosts...)
	server, client := n.Host("server"), n.Host("client")
	read := func(h *Host, name, want string) {
		t.Helper()
		if got, err := h.Sysctl(name); got != want || err != nil {
			t.Errorf("%s of %s: %q, %v, want %q", name, h.Name(), got, err, want)
		}
	}
	read(server, "net.ipv4.conf.eth0.arp_announce", "1")
	read(server, "net.ipv4.tcp_fin_timeout", "7")
	read(server, "net.ipv6.conf.eth0.hop_limit", "33")
	read(client, "net.ipv4.conf.eth0.arp_announce", "0")
	read(client, "net.ipv4.tcp_fin_timeout", "60")
	read(client, "net.ipv6.conf.eth0.hop_limit", "64")

	now, err := client.SetSysctl("net.ipv4.ip_local_port_range", "40000 40010")
	if now != "40000\t40010" || err != nil {
		t.Errorf("range: %q, %v", now, err)
	}
	read(server, "net.ipv4.tcp_fin_timeout", "7")
	if now, err := server.SetSysctl("net.ipv4.route.flush", "1"); now != "" || err != nil {
		t.Errorf("a setting that can only be written: %q, %v", now, err)
	}

	tests := []struct {
		name, value, want string
		errno             error
	}{
		{"net.ipv4.tcp_fin_timeout", "soon", "set net.ipv4.tcp_fin_timeout = soon on server: invalid argument (the kernel does not take this value)", unix.EINVAL},
		{"net.ipv4.tcp_fin_timeout", "", "there is no value", nil},
		{"net.ipv4.tcp_mem", "1 2 3", "net.ipv4.tcp_mem", nil},
		{"net.ipv4.tcp_nonsense", "1", "this kernel has no such setting", unix.ENOENT},
		{"net.ipv4.conf", "1", "set net.ipv4.conf = 1 on server: ", unix.EISDIR},
		{"net.ipv4.tcp_available_congestion_control", "reno", "the kernel does not let a lab change it", unix.EACCES},
		{"kernel.hostname", "x", "only the settings of a network namespace", nil},
	}
	for _, tt := range tests {
		_, err := server.SetSysctl(tt.name, tt.value)
		if err == nil || !strings.Contains(err.Error(), tt.want) || tt.errno != nil && !errors.Is(err, tt.errno) {
			t.Errorf("%s = %q: %v", tt.name, tt.value, err)
		}
	}
	for _, name := range []string{"kernel.hostname", "net.ipv4.tcp_nonsense", "net.ipv4.conf"} {
		if got, err := server.Sysctl(name); err == nil {
			t.Errorf("read %s: %q", name, got)
		}
	}
}
