package capture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// packet is a frame as the kernel handed it over.
type packet struct {
	wall  int64 // CLOCK_REALTIME ns
	out   bool
	size  int    // as sent
	frame []byte // its first keep bytes
}

// socket is an AF_PACKET socket (packet(7)) on one interface. It has no ring:
// making and giving up one makes the kernel wait for every CPU, some 30 ms for a
// lab.
type socket struct {
	fd    int
	batch *batch
}

// room is what frames that were not yet read may take in the kernel, if the
// machine's root asks. Others get net.core.rmem_max at most, 208 KiB where
// nobody has changed it: some 300 segments.
const room = 4 << 20

// openSocket opens one in the calling thread's network namespace. It sees IPv4
// and IPv6 TCP, what leaves and what arrives.
func openSocket(index int) (*socket, error) {
	// With protocol 0 nothing arrives before bind, so that no frame of another
	// interface gets in.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open an AF_PACKET socket: %w", err)
	}
	if err := listen(fd, index); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &socket{fd: fd, batch: newBatch()}, nil
}

func listen(fd, index int) error {
	filter := onlyTCP()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return fmt.Errorf("attach a filter to an AF_PACKET socket: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("set SO_TIMESTAMPNS on an AF_PACKET socket: %w", err)
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, room); err != nil {
			return fmt.Errorf("set SO_RCVBUF on an AF_PACKET socket: %w", err)
		}
	}
	// In network byte order. Only who asks for all is shown what leaves.
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		return fmt.Errorf("bind an AF_PACKET socket to interface %d: %w", index, err)
	}
	return nil
}

// onlyTCP is a program of classic BPF that passes TCP over IPv4 and IPv6, and
// nothing else.
func onlyTCP() []unix.SockFilter {
	const (
		loadHalf = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
		loadByte = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
		equal    = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		give     = unix.BPF_RET | unix.BPF_K
		whole    = 1 << 18
	)
	return []unix.SockFilter{
		{Code: loadHalf, K: 12},                // the type of Ethernet
		{Code: equal, K: unix.ETH_P_IP, Jf: 2}, // else look for IPv6
		{Code: loadByte, K: etherLen + 9},      // IPv4's protocol
		{Code: equal, K: protocolTCP, Jt: 3, Jf: 4},
		{Code: equal, K: unix.ETH_P_IPV6, Jf: 3}, // else pass nothing
		{Code: loadByte, K: etherLen + 6},        // IPv6's next header
		{Code: equal, K: protocolTCP, Jf: 1},
		{Code: give, K: whole},
		{Code: give, K: 0},
	}
}

// batchSize is how many frames one system call reads.
const batchSize = 32

// batch is where recvmmsg(2) puts frames, with their addresses and stamps.
type batch struct {
	headers   [batchSize]mmsghdr
	vectors   [batchSize]unix.Iovec
	addresses [batchSize]unix.RawSockaddrLinklayer
	controls  [batchSize][controlSize / 8]uint64 // aligned as a cmsghdr is
	frames    [batchSize][keep]byte
}

// mmsghdr is the kernel's struct of that name.
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

func newBatch() *batch {
	b := &batch{}
	for i := range b.headers {
		b.vectors[i].Base = &b.frames[i][0]
		b.vectors[i].SetLen(keep)
		h := &b.headers[i].header
		h.Name = (*byte)(unsafe.Pointer(&b.addresses[i]))
		h.Iov = &b.vectors[i]
		h.SetIovlen(1)
		h.Control = (*byte)(unsafe.Pointer(&b.controls[i]))
	}
	return b
}

// read appends the frames that wait, but not many more than limit.
func (s *socket) read(packets []packet, limit int) []packet {
	b := s.batch
	for end := len(packets) + limit; len(packets) < end; {
		for i := range b.headers { // the kernel writes into these
			h := &b.headers[i].header
			h.Namelen = unix.SizeofSockaddrLinklayer
			h.SetControllen(controlSize)
		}
		// MSG_TRUNC: the length of the frame, not of what is kept of it.
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&b.headers[0])), batchSize,
			unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		if errno == unix.EINTR {
			continue
		}
		// EAGAIN: that was all. ENETDOWN: the interface went down; the call
		// has taken that off the socket, which sees frames again when it is up.
		if errno == unix.ENETDOWN {
			continue
		}
		if errno != 0 {
			return packets
		}
		for i := range int(n) {
			m := &b.headers[i]
			control := unsafe.Slice((*byte)(unsafe.Pointer(&b.controls[i])), controlSize)[:m.header.Controllen]
			wall, _ := stampOf(control) // it is there: the option is set
			packets = append(packets, packet{
				wall:  wall,
				out:   b.addresses[i].Pkttype == unix.PACKET_OUTGOING,
				size:  int(m.length),
				frame: bytes.Clone(b.frames[i][:min(m.length, keep)]),
			})
		}
		if n < batchSize {
			return packets
		}
	}
	return packets
}

// lost is how many frames found no room since it was last asked.
func (s *socket) lost() (int, error) {
	stats, err := unix.GetsockoptTpacketStats(s.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return 0, fmt.Errorf("read PACKET_STATISTICS: %w", err)
	}
	return int(stats.Drops), nil
}

// close waits, as the kernel does, until no CPU uses the socket: some 10 ms.
func (s *socket) close() { unix.Close(s.fd) }
