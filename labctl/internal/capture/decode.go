package capture

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"restartlab/labctl/internal/journal"
)

// keep is how many bytes of a frame are kept. The headers of TCP end by 134: 14
// of Ethernet, and at most 60 each of IPv4 and TCP.
const keep = 256

const (
	etherLen = 14 // two addresses and a type
	ipv6Len  = 40
)

// Decode reads the TCP segment in an Ethernet frame, which may be cut short
// behind its headers. It is false for anything else: other protocols, IPv6 with
// extension headers, IP fragments (RFC 791, 3.2) and headers that contradict
// themselves. It sets From, To, Flags, Seq, Ack, Window, Length and Options; the
// rest is not told by the bytes.
func Decode(frame []byte) (s journal.Segment, ok bool) {
	if len(frame) < etherLen {
		return s, false
	}
	var from, to netip.Addr
	var tcp []byte
	var length int // of header and payload of TCP
	switch ip := frame[etherLen:]; binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800: // RFC 791, 3.1
		if len(ip) < 20 || ip[0]>>4 != 4 || ip[9] != protocolTCP || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 {
			return s, false
		}
		header := int(ip[0]&15) * 4
		length = int(binary.BigEndian.Uint16(ip[2:])) - header
		if header < 20 || header > len(ip) {
			return s, false
		}
		from, to = netip.AddrFrom4([4]byte(ip[12:])), netip.AddrFrom4([4]byte(ip[16:]))
		tcp = ip[header:]
	case 0x86dd: // RFC 8200, 3
		if len(ip) < ipv6Len || ip[0]>>4 != 6 || ip[6] != protocolTCP {
			return s, false
		}
		length = int(binary.BigEndian.Uint16(ip[4:]))
		from, to = netip.AddrFrom16([16]byte(ip[8:])), netip.AddrFrom16([16]byte(ip[24:]))
		tcp = ip[ipv6Len:]
	default:
		return s, false
	}
	// RFC 9293, 3.1
	if len(tcp) < 20 {
		return s, false
	}
	header := int(tcp[12]>>4) * 4
	if header < 20 || header > len(tcp) || header > length {
		return s, false
	}
	return journal.Segment{
		From:    netip.AddrPortFrom(from, binary.BigEndian.Uint16(tcp)),
		To:      netip.AddrPortFrom(to, binary.BigEndian.Uint16(tcp[2:])),
		Seq:     binary.BigEndian.Uint32(tcp[4:]),
		Ack:     binary.BigEndian.Uint32(tcp[8:]),
		Flags:   flags(tcp[13]),
		Window:  binary.BigEndian.Uint16(tcp[14:]),
		Length:  length - header,
		Options: options(tcp[20:header]),
	}, true
}

const protocolTCP = 6

// flags names the bits in the order of journal.Segment; never nil.
func flags(bits byte) []string {
	names := []string{}
	for _, f := range [...]struct {
		bit  byte
		name string
	}{{0x02, "SYN"}, {0x10, "ACK"}, {0x01, "FIN"}, {0x04, "RST"}, {0x08, "PSH"}, {0x20, "URG"}, {0x40, "ECE"}, {0x80, "CWR"}} {
		if bits&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// options puts the options into words, those that only fill up apart. What
// follows one that does not fit is not read.
func options(b []byte) (words []string) {
	for len(b) > 0 && b[0] != 0 { // 0: end of the list
		if b[0] == 1 { // no operation
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return append(words, fmt.Sprintf("option %d cut short", b[0]))
		}
		words = append(words, option(b[0], b[2:b[1]]))
		b = b[b[1]:]
	}
	return words
}

// option is one option: RFC 9293, 3.2 (mss), RFC 7323 (wscale, ts), RFC 2018
// (sackOK, sack), RFC 7413 (fast open).
func option(kind byte, value []byte) string {
	number := func(i int) uint32 { return binary.BigEndian.Uint32(value[i:]) }
	switch n := len(value); {
	case kind == 2 && n == 2:
		return "mss " + strconv.Itoa(int(binary.BigEndian.Uint16(value)))
	case kind == 3 && n == 1:
		return "wscale " + strconv.Itoa(int(value[0]))
	case kind == 4 && n == 0:
		return "sackOK"
	case kind == 5 && n > 0 && n%8 == 0:
		text := "sack"
		for i := 0; i < n; i += 8 {
			text += fmt.Sprintf(" %d-%d", number(i), number(i+4))
		}
		return text
	case kind == 8 && n == 8:
		return "ts " + strconv.FormatUint(uint64(number(0)), 10) + " " + strconv.FormatUint(uint64(number(4)), 10) // most have it: no fmt
	case kind == 34:
		return fmt.Sprintf("fastopen %x", value)
	}
	return fmt.Sprintf("option %d %x", kind, value)
}
