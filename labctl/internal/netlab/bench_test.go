package netlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/netlab/netlabtest"
)

// BenchmarkLabUp measures a lab from nothing to its first connection, handles
// closed again: by New, by the barest netlink messages that do the same (link,
// addresses, neighbours and barriers; no sysctls, no messages for people) and
// by ip(8), in turn, since the kernel takes earlier labs apart meanwhile. It
// reports medians.
func BenchmarkLabUp(b *testing.B) {
	netlabtest.Need(b)
	ways := []struct {
		unit string
		run  func() error
	}{
		{"ms/New", func() error { return firstConnect(pair(), pair()[0].Addresses[0].Addr()) }},
		{"ms/barest", barestLab},
		{"ms/ip", ipLab},
	}
	if why := prepareIP(); why != nil {
		b.Log("without ip commands:", why)
		ways = ways[:2]
	}
	took := make([][]time.Duration, len(ways))
	for i := 0; b.Loop(); i++ {
		for j := range ways {
			k := (i + j) % len(ways) // each follows each of the others
			begin := time.Now()
			if err := ways[k].run(); err != nil {
				b.Fatalf("%s: %v", ways[k].unit, err)
			}
			took[k] = append(took[k], time.Since(begin))
		}
	}
	median := func(k int) float64 {
		slices.Sort(took[k])
		return float64(took[k][len(took[k])/2]) / 1e6
	}
	b.ReportMetric(0, "ns/op")
	for k, w := range ways {
		b.ReportMetric(median(k), w.unit)
	}
	b.ReportMetric(median(0)/median(1), "New/barest")
	if len(ways) > 2 {
		b.ReportMetric(median(2)/median(0), "ip/New")
	}
}

// BenchmarkLabsPerSecond makes 200 labs, first connection included, as many at once as
// an inside works on, by New and by the barest messages in turn, and reports how many
// come in a second. New also
// gives the hosts tables of connections of their own, as an inside does.
func BenchmarkLabsPerSecond(b *testing.B) {
	netlabtest.Need(b)
	if err := OwnTables(); err != nil {
		b.Fatal(err)
	}
	const labs = 200
	ways := []struct {
		unit string
		run  func() error
	}{
		{"labs/s-New", func() error { return firstConnect(pair(), pair()[0].Addresses[0].Addr()) }},
		{"labs/s-barest", barestLab},
	}
	took := make([][]time.Duration, len(ways))
	for b.Loop() {
		for k, w := range ways {
			begin := time.Now()
			turns := make(chan struct{}, 4*runtime.NumCPU())
			errs := make(chan error, labs)
			for range labs {
				turns <- struct{}{}
				go func() {
					errs <- w.run()
					<-turns
				}()
			}
			for range labs {
				if err := <-errs; err != nil {
					b.Fatalf("%s: %v", w.unit, err)
				}
			}
			took[k] = append(took[k], time.Since(begin))
		}
	}
	rate := func(k int) float64 {
		slices.Sort(took[k])
		return labs / took[k][len(took[k])/2].Seconds()
	}
	b.ReportMetric(0, "ns/op")
	for k, w := range ways {
		b.ReportMetric(rate(k), w.unit)
	}
	b.ReportMetric(rate(1)/rate(0), "barest/New")
}

// barestLab does firstConnect's work on one thread, written out by hand.
func barestLab() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		home, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = bare(home)
			unix.Close(home)
		}
		if err == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func bare(home int) (err error) {
	check := func(e error) {
		if err == nil {
			err = e
		}
	}
	var ns, socks [2]int
	for i := range 2 {
		check(unix.Unshare(unix.CLONE_NEWNET))
		ns[i] = bareFD(unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0))(check)
		socks[i] = bareFD(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0))(check)
		defer unix.Close(ns[i])
		defer unix.Close(socks[i])
	}
	if err != nil {
		return err
	}
	var m bareMessage
	m.link(ns[1])
	check(m.send(socks[0]))
	for i := range 2 {
		var m bareMessage
		own, other := byte(144+i), byte(145-i)
		m.up(1)
		m.up(2)
		m.address(unix.AF_INET, 24, 0, []byte{192, 168, 44, own})
		m.address(unix.AF_INET6, 64, unix.IFA_F_NODAD, bareIPv6(own))
		m.neighbour(unix.AF_INET, []byte{192, 168, 44, other}, byte(2-i))
		m.neighbour(unix.AF_INET6, bareIPv6(other), byte(2-i))
		check(m.send(socks[i]))
	}
	for i := range 2 {
		for local := false; !local && err == nil; {
			var m bareMessage
			m.getLink()
			m.getRoute(bareIPv6(byte(144 + i)))
			check(m.send(socks[i]))
			if local = m.local; !local {
				unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) // the kernel's worker may need this CPU
			}
		}
	}
	// The connection.
	check(unix.Setns(ns[0], unix.CLONE_NEWNET))
	l := bareFD(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(check)
	defer unix.Close(l)
	server := &unix.SockaddrInet4{Port: 12500, Addr: [4]byte{192, 168, 44, 144}}
	check(unix.Bind(l, server))
	check(unix.Listen(l, 8))
	check(unix.Setns(ns[1], unix.CLONE_NEWNET))
	c := bareFD(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))(check)
	defer unix.Close(c)
	check(unix.Connect(c, server))
	check(unix.Setns(home, unix.CLONE_NEWNET))
	return err
}

func bareFD(fd int, err error) func(check func(error)) int {
	return func(check func(error)) int { check(err); return fd }
}

func bareIPv6(last byte) []byte { return []byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x44, 15: last} }

// bareMessage is a batch of rtnetlink messages.
type bareMessage struct {
	b     []byte
	n     uint32 // sequence number of the last
	local bool   // a route in the answer is RTN_LOCAL
}

func (m *bareMessage) u16(x uint16) { m.b = binary.NativeEndian.AppendUint16(m.b, x) }
func (m *bareMessage) u32(x uint32) { m.b = binary.NativeEndian.AppendUint32(m.b, x) }

func (m *bareMessage) attr(typ uint16, v []byte) {
	m.nest(typ, func() { m.b = append(m.b, v...) })
}

func (m *bareMessage) nest(typ uint16, f func()) {
	at := len(m.b)
	m.u16(0)
	m.u16(typ)
	f()
	binary.NativeEndian.PutUint16(m.b[at:], uint16(len(m.b)-at))
	for len(m.b)%4 != 0 {
		m.b = append(m.b, 0)
	}
}

func (m *bareMessage) add(typ, flags uint16, f func()) {
	at := len(m.b)
	m.n++
	m.u32(0)
	m.u16(typ)
	m.u16(flags | unix.NLM_F_REQUEST)
	m.u32(m.n)
	m.u32(0)
	f()
	binary.NativeEndian.PutUint32(m.b[at:], uint32(len(m.b)-at))
}

func (m *bareMessage) info(index, up uint32) {
	m.u32(0)
	m.u32(index)
	m.u32(up)
	m.u32(up)
}

func (m *bareMessage) link(ns int) {
	m.add(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, func() {
		m.info(2, unix.IFF_UP)
		m.attr(unix.IFLA_IFNAME, []byte("eth0\x00"))
		m.attr(unix.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, 1})
		m.nest(unix.IFLA_LINKINFO, func() {
			m.attr(1, []byte("veth")) // IFLA_INFO_KIND
			m.nest(2, func() {        // IFLA_INFO_DATA
				m.nest(1, func() { // VETH_INFO_PEER
					m.info(2, 0)
					m.attr(unix.IFLA_IFNAME, []byte("eth0\x00"))
					m.attr(unix.IFLA_ADDRESS, []byte{2, 0, 0, 0, 0, 2})
					m.attr(unix.IFLA_NET_NS_FD, binary.NativeEndian.AppendUint32(nil, uint32(ns)))
				})
			})
		})
	})
}

func (m *bareMessage) up(index uint32) {
	m.add(unix.RTM_NEWLINK, 0, func() { m.info(index, unix.IFF_UP) })
}

func (m *bareMessage) address(family, bits, flags byte, ip []byte) {
	m.add(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, func() {
		m.b = append(m.b, family, bits, flags, 0)
		m.u32(2)
		m.attr(unix.IFA_LOCAL, ip)
		m.attr(unix.IFA_ADDRESS, ip)
	})
}

func (m *bareMessage) neighbour(family byte, ip []byte, mac byte) {
	m.add(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE, func() {
		m.u32(uint32(family))
		m.u32(2)
		m.u32(unix.NUD_PERMANENT)
		m.attr(unix.NDA_DST, ip)
		m.attr(unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, mac})
	})
}

func (m *bareMessage) getLink() { m.add(unix.RTM_GETLINK, 0, func() { m.info(2, 0) }) }

func (m *bareMessage) getRoute(ip []byte) {
	m.add(unix.RTM_GETROUTE, 0, func() {
		m.b = append(m.b, unix.AF_INET6, 128, 0, 0, 0, 0, 0, 0)
		m.u32(0)
		m.attr(unix.RTA_DST, ip)
	})
}

// send sends the batch and waits until its last message is acknowledged.
func (m *bareMessage) send(fd int) error {
	last := 0
	for at := 0; at < len(m.b); at += int(binary.NativeEndian.Uint32(m.b[at:])) {
		last = at
	}
	m.b[last+6] |= unix.NLM_F_ACK
	if err := unix.Sendto(fd, m.b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	var buf [4096]byte
	for {
		n, _, err := unix.Recvfrom(fd, buf[:], 0)
		if err != nil {
			return err
		}
		for b := buf[:n]; len(b) >= 16; b = b[(binary.NativeEndian.Uint32(b)+3)&^3:] {
			switch binary.NativeEndian.Uint16(b[4:]) {
			case unix.NLMSG_ERROR:
				if errno := int32(binary.NativeEndian.Uint32(b[16:])); errno != 0 {
					return unix.Errno(-errno)
				}
				if binary.NativeEndian.Uint32(b[8:]) == m.n {
					return nil
				}
			case unix.RTM_NEWROUTE:
				m.local = b[16+7] == unix.RTN_LOCAL
			}
		}
	}
}

// prepareIP gives ip(8) a /run of its own for the names it needs.
func prepareIP() error {
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("iproute2 is not installed: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount an own /run: %w", err)
	}
	return nil
}

// ipLab does the same with nine ip commands, as a shell script would.
func ipLab() error {
	for _, c := range []string{
		"netns add server", "netns add client",
		"link add eth0 netns server type veth peer name eth0 netns client",
		"-n server address add 192.168.44.144/24 dev eth0", "-n server link set eth0 up", "-n server link set lo up",
		"-n client address add 192.168.44.145/24 dev eth0", "-n client link set eth0 up", "-n client link set lo up",
	} {
		if out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", c, err, out)
		}
	}
	n := &Network{hosts: []*Host{{name: "server"}, {name: "client"}}}
	defer n.Close()
	for _, h := range n.hosts {
		file := "/run/netns/" + h.name
		fd, err := unix.Open(file, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		h.ns = netns.NsHandle(fd)
		if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
			return err
		}
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	at := netip.MustParseAddrPort("192.168.44.144:12500")
	l, err := listen(n.hosts[0], at)
	if err != nil {
		return err
	}
	defer unix.Close(l)
	err = connect(n.hosts[1], at, 5*time.Second)
	if errors.Is(err, errLost) {
		return nil // a script has no barriers
	}
	return err
}
