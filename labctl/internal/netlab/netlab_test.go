package netlab

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/netlab/netlabtest"
	"restartlab/labctl/internal/scenario"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

func prefixes(s ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, p := range s {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

// pair is the article's two hosts.
func pair() []scenario.Host {
	return []scenario.Host{
		{Name: "server", Addresses: prefixes("192.168.44.144/24", "2001:db8:44::144/64")},
		{Name: "client", Addresses: prefixes("192.168.44.145/24", "2001:db8:44::145/64")},
	}
}

func newNetwork(t testing.TB, hosts ...scenario.Host) *Network {
	t.Helper()
	n, err := New(hosts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func sockaddr(a netip.AddrPort) (unix.Sockaddr, int) {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}, unix.AF_INET
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}, unix.AF_INET6
}

// listen opens a listener on the host.
func listen(h *Host, at netip.AddrPort) (fd int, err error) {
	fd = -1
	err = h.Do(func() (err error) {
		sa, family := sockaddr(at)
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if err = unix.Bind(fd, sa); err == nil {
			err = unix.Listen(fd, 8)
		}
		if err != nil {
			unix.Close(fd)
		}
		return err
	})
	return fd, err
}

// A segment of the handshake that is lost is sent again after a second. The
// client counts its own SYNs, which a busy machine cannot falsify; the time
// tells of a lost SYN|ACK.
const retransmitted = 900 * time.Millisecond

var errLost = errors.New("a segment of the handshake was lost")

// connect connects once from the host and closes. It fails with errLost even
// if sending again helped.
func connect(h *Host, to netip.AddrPort, patience time.Duration) error {
	return h.Do(func() error {
		sa, family := sockaddr(to)
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		begin := time.Now()
		if err := unix.Connect(fd, sa); err != unix.EINPROGRESS {
			return err
		}
		for {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			n, err := unix.Poll(fds, int(max(0, patience-time.Since(begin)).Milliseconds()))
			took := time.Since(begin)
			switch {
			case err == unix.EINTR:
				continue // the runtime's own signals
			case err != nil:
				return err
			case n == 0:
				return unix.ETIMEDOUT
			}
			errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			if err != nil {
				return err
			}
			if errno != 0 {
				return unix.Errno(errno)
			}
			info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
			if err == nil && (info.Total_retrans > 0 || took > retransmitted) {
				err = fmt.Errorf("%w: connect took %v and %d more SYNs", errLost, took, info.Total_retrans)
			}
			return err
		}
	})
}

// firstConnect makes a lab and connects at once.
func firstConnect(hosts []scenario.Host, to netip.Addr) error {
	n, err := New(hosts)
	if err != nil {
		return err
	}
	defer n.Close()
	at := netip.AddrPortFrom(to, 12500)
	l, err := listen(n.Host("server"), at)
	if err != nil {
		return err
	}
	defer unix.Close(l)
	return connect(n.Host("client"), at, 5*time.Second)
}

func TestFirstConnectLosesNoSegment(t *testing.T) {
	netlabtest.Need(t)
	for _, to := range []string{"192.168.44.144", "2001:db8:44::144"} {
		to := netip.MustParseAddr(to)
		t.Run("in a row to "+to.String(), func(t *testing.T) {
			for i := range 150 {
				if err := firstConnect(pair(), to); err != nil {
					t.Fatalf("lab %d: %v", i, err)
				}
			}
		})
		t.Run("side by side to "+to.String(), func(t *testing.T) {
			const labs = 60
			var wg sync.WaitGroup
			begin := make(chan struct{})
			for i := range labs {
				wg.Go(func() {
					<-begin
					if err := firstConnect(pair(), to); err != nil {
						t.Errorf("lab %d: %v", i, err)
					}
				})
			}
			close(begin)
			wg.Wait()
		})
	}
}

// snapshot is all that a lab could change by mistake in a namespace.
func snapshot(t *testing.T) map[string]string {
	t.Helper()
	s := map[string]string{}
	links, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		addresses, err := l.Addrs()
		if err != nil {
			t.Fatal(err)
		}
		s["link "+l.Name] = fmt.Sprint(l, addresses)
	}
	for _, f := range []string{"route", "ipv6_route", "arp"} {
		b, _ := os.ReadFile("/proc/thread-self/net/" + f)
		s[f] = string(b)
	}
	err = filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		// Some can only be written, and this one is a live counter.
		if b, err := os.ReadFile(path); err == nil && filepath.Base(path) != "nf_conntrack_count" {
			s[path] = string(b)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	names, _ := filepath.Glob("/run/netns/*")
	s["/run/netns"] = fmt.Sprint(names)
	return s
}

func TestNothingChangesInTheCallersNamespace(t *testing.T) {
	netlabtest.Need(t)
	before := snapshot(t)
	if len(before) < 100 {
		t.Fatalf("only %d things looked at", len(before))
	}
	hosts := pair()
	hosts[0].Sysctls = []scenario.Sysctl{{Name: "net.ipv4.tcp_fin_timeout", Value: "7"}, {Name: "net.ipv4.conf.eth0.rp_filter", Value: "2"}}
	n := newNetwork(t, hosts...)
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("New changed (-before +after):\n%s", diff)
	}
	server := n.Host("server")
	if _, err := server.SetSysctl("net.ipv4.ip_local_port_range", "40000 40010"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(server.SetLink(false), server.SetLink(true), n.Close()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(before, snapshot(t)); diff != "" {
		t.Errorf("a lab's life changed (-before +after):\n%s", diff)
	}
}

func TestLabsAreAlike(t *testing.T) {
	netlabtest.Need(t)
	look := func() map[string]string {
		n := newNetwork(t, pair()...)
		seen := map[string]string{}
		for _, name := range []string{"server", "client"} {
			err := n.Host(name).Do(func() error {
				l, err := net.InterfaceByName(n.Host(name).Interface())
				seen[name] = fmt.Sprint(l)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			cc, err := n.Host(name).Sysctl(congestionControlSysctl)
			if err != nil || cc != congestionControl {
				t.Errorf("congestion control of %s: %q, %v", name, cc, err)
			}
		}
		if len(n.Notes()) > 0 {
			t.Errorf("notes: %q", n.Notes())
		}
		return seen
	}
	first := look()
	if diff := cmp.Diff(first, look()); diff != "" {
		t.Error(diff)
	}
	if first["server"] == first["client"] || !strings.Contains(first["client"], "02:00:00:00:00:02") {
		t.Errorf("links: %v", first)
	}
}

func TestOneHost(t *testing.T) {
	netlabtest.Need(t)
	n := newNetwork(t, scenario.Host{Name: "only", Addresses: prefixes("192.168.44.144/24", "2001:db8:44::144/64")})
	h := n.Host("only")
	if h.Interface() != "lo" || n.Host("other") != nil {
		t.Errorf("interface %s, other host %v", h.Interface(), n.Host("other"))
	}
	for _, a := range []string{"192.168.44.144", "2001:db8:44::144", "127.0.0.1", "::1"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(a), 12500)
		l, err := listen(h, at)
		if err != nil {
			t.Errorf("listen on %v: %v", at, err)
			continue
		}
		if err := connect(h, at, 5*time.Second); err != nil {
			t.Errorf("connect to %v: %v", at, err)
		}
		unix.Close(l)
	}
	// Only the addresses themselves are the host's, not their subnet.
	for _, a := range []string{"192.168.44.145", "2001:db8:44::145"} {
		at := netip.AddrPortFrom(netip.MustParseAddr(a), 12500)
		if _, err := listen(h, at); err != unix.EADDRNOTAVAIL {
			t.Errorf("bind to %v: %v", at, err)
		}
		if err := connect(h, at, 5*time.Second); err != unix.ENETUNREACH {
			t.Errorf("connect to %v: %v", at, err)
		}
	}
}

func TestDescriptors(t *testing.T) {
	netlabtest.Need(t)
	count := func() int { return len(must(os.ReadDir("/proc/self/fd"))) }
	before := count()
	n := newNetwork(t, pair()...)
	if held := count() - before; held > 2*len(n.hosts) {
		t.Errorf("a lab of two hosts holds %d descriptors", held)
	}
	if ns := n.Host("client").NS(); must(unix.FcntlInt(uintptr(ns), unix.F_GETFD, 0))&unix.FD_CLOEXEC == 0 {
		t.Error("a program started by the lab would inherit the namespace's descriptor")
	}
	n.Close()
	if _, err := New([]scenario.Host{{Name: "server", Addresses: prefixes("ff02::1/128")}, {Name: "client"}}); err == nil {
		t.Error("a multicast address was taken")
	}
	if held := count() - before; held != 0 {
		t.Errorf("%d descriptors are left", held)
	}
}

func TestNewSaysWhatWasRefused(t *testing.T) {
	netlabtest.Need(t)
	tests := []struct {
		name  string
		hosts []scenario.Host
		want  string
		errno error
	}{
		{"no host", nil, "a lab has one host or two, not 0", nil},
		{"three hosts", make([]scenario.Host, 3), "a lab has one host or two, not 3", nil},
		{"an impossible address", []scenario.Host{{Name: "server"}, {Name: "client", Addresses: prefixes("ff02::1/128")}},
			"add the address ff02::1/128 to eth0 of client: ", unix.EADDRNOTAVAIL},
		{"IPv6 switched off", []scenario.Host{{Name: "only", Addresses: prefixes("2001:db8::1/64"),
			Sysctls: []scenario.Sysctl{{Name: "net.ipv6.conf.all.disable_ipv6", Value: "1"}}}},
			"add the address 2001:db8::1/64 to lo of only: permission denied (IPv6 is switched off there", unix.EACCES},
		{"an unknown sysctl", []scenario.Host{{Name: "server", Sysctls: []scenario.Sysctl{{Name: "net.ipv4.tcp_nonsense", Value: "1"}}}},
			"set net.ipv4.tcp_nonsense = 1 on server: no such file or directory (this kernel has no such setting", unix.ENOENT},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n, err := New(tt.hosts)
			if n != nil || err == nil || !strings.Contains(err.Error(), tt.want) || tt.errno != nil && !errors.Is(err, tt.errno) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// powerless is set for a process of TestProbe that has no capabilities.
const powerless = "RESTARTLAB_TEST_POWERLESS"

func TestProbe(t *testing.T) {
	netlabtest.Need(t)
	if os.Getenv(powerless) != "" {
		err := Probe()
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "make a network namespace for host server: operation not permitted") {
			t.Errorf("without capabilities: %v", err)
		}
		return
	}
	if err := Probe(); err != nil {
		t.Error(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestProbe$", "-test.count=1")
	cmd.Env = append(os.Environ(), powerless+"=1")
	done := make(chan error)
	var out []byte
	go func() {
		runtime.LockOSThread() // to the end: the thread loses its power too
		err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
		if os.Geteuid() == 0 { // root has what the bounding set allows
			err = errors.Join(err, unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0))
		}
		if err == nil {
			out, err = cmd.CombinedOutput()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
