package trace

import (
	"errors"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/netlab/netlabtest"
	"restartlab/labctl/internal/scenario"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

// address is the server's in a rig.
var address = netip.MustParseAddr("10.0.0.1")

// rig makes two hosts.
func rig(t testing.TB) *netlab.Network {
	t.Helper()
	netlabtest.Need(t)
	network, err := netlab.New([]scenario.Host{
		{Name: "server", Addresses: []netip.Prefix{netip.PrefixFrom(address, 24)}},
		{Name: "client", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	return network
}

// opened opens a tracer whose ring has so many bytes, or skips the test with what
// was refused.
func opened(t testing.TB, ring uint32) *Tracer {
	t.Helper()
	tracer, err := open(0, ring, false)
	if u := (*Unavailable)(nil); errors.As(err, &u) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tracer.Close(); err != nil {
			t.Error(err)
		}
	})
	return tracer
}

// watch watches a host of the rig.
func watch(t testing.TB, tracer *Tracer, host *netlab.Host) *Host {
	t.Helper()
	var cookie uint64
	err := host.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := tracer.Watch(cookie, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return h
}
