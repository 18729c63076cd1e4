package capture

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	"restartlab/labctl/internal/journal"
)

// Recorded reports whether segments were recorded in the run: then there is a
// pcapng file to write, though perhaps without a segment.
func Recorded(events []journal.Event) bool { return len(interfaces(events)) > 0 }

// WritePcapng writes the segments among the events, whose first is the header,
// as a pcapng file: an interface for each host, named "server eth0", in the
// order in which the hosts came up; segments in the order of their time stamps,
// in nanoseconds; a comment at the first one of each step, and at the one that goes
// with a change of a socket's state. The same events give the same bytes.
func WritePcapng(w io.Writer, events []journal.Event) error {
	where := interfaces(events)
	if len(where) == 0 {
		return fmt.Errorf("no segments were recorded")
	}
	ng := pcapng{bufio.NewWriter(w)}
	ng.section(events[0].Header)
	for _, name := range where {
		ng.iface(name)
	}
	segments := slices.DeleteFunc(slices.Clone(events), func(e journal.Event) bool { return e.Segment == nil })
	slices.SortStableFunc(segments, func(a, b journal.Event) int { return cmp.Compare(a.Segment.Wall, b.Segment.Wall) })
	remarks := comments(events, segments)
	for i, e := range segments {
		ng.packet(slices.Index(where, place(e)), e.Segment, remarks[i])
	}
	return ng.w.Flush()
}

// pcapng writes blocks of draft-ietf-opsawg-pcapng, little endian. An error of
// the writer stays with it until Flush.
type pcapng struct{ w *bufio.Writer }

var le = binary.LittleEndian

// The types of block, the options that all have, and those of one of them.
const (
	sectionHeader  = 0x0a0d0d0a
	interfaceBlock = 1
	enhancedPacket = 6

	optEnd, optComment                        = 0, 1
	shbHardware, shbOS, shbApplication        = 2, 3, 4
	ifName, ifResolution                      = 2, 9
	epbFlags                                  = 2
	epbInbound, epbOutbound            uint32 = 1, 2
)

func (p pcapng) section(h *journal.Header) {
	b := le.AppendUint32(nil, 0x1a2b3c4d)
	b = le.AppendUint16(b, 1) // version 1.0
	b = le.AppendUint16(b, 0)
	b = le.AppendUint64(b, 1<<64-1) // of a length that is not stated
	application := "labctl"
	if h != nil {
		application = "labctl " + h.Labctl
		b = addText(b, optComment, "scenario "+h.Scenario.Name)
		b = addText(b, shbHardware, h.Machine.Arch)
		b = addText(b, shbOS, "Linux "+h.Machine.Kernel)
	}
	p.block(sectionHeader, addText(b, shbApplication, application))
}

func (p pcapng) iface(name string) {
	const ethernet = 1 // LINKTYPE_ETHERNET
	b := le.AppendUint16(nil, ethernet)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, keep)
	b = addText(b, ifName, name)
	p.block(interfaceBlock, add(b, ifResolution, []byte{9})) // 10^-9 s
}

func (p pcapng) packet(iface int, s *journal.Segment, comments []string) {
	frame := s.Frame[:min(len(s.Frame), keep)]
	stamp := uint64(max(s.Wall, 0))
	b := le.AppendUint32(nil, uint32(iface))
	b = le.AppendUint32(b, uint32(stamp>>32))
	b = le.AppendUint32(b, uint32(stamp))
	b = le.AppendUint32(b, uint32(len(frame)))
	b = le.AppendUint32(b, uint32(max(s.Size, len(frame))))
	b = padded(append(b, frame...))
	direction := epbInbound
	if s.Out {
		direction = epbOutbound
	}
	b = add(b, epbFlags, le.AppendUint32(nil, direction))
	for _, text := range comments[:min(len(comments), mostComments)] {
		b = addText(b, optComment, text)
	}
	p.block(enhancedPacket, b)
}

// mostComments bounds what is remarked at one segment.
const mostComments = 50

// block writes one block around its body, whose options it ends.
func (p pcapng) block(kind uint32, body []byte) {
	body = le.AppendUint32(body, optEnd)
	length := uint32(len(body)) + 12
	p.w.Write(le.AppendUint32(le.AppendUint32(nil, kind), length))
	p.w.Write(body)
	p.w.Write(le.AppendUint32(nil, length))
}

func add(b []byte, code uint16, value []byte) []byte {
	b = le.AppendUint16(le.AppendUint16(b, code), uint16(len(value)))
	return padded(append(b, value...))
}

// addText appends an option of text, unless it is empty. An option has room for
// 65,535 bytes.
func addText(b []byte, code uint16, text string) []byte {
	const most = 1000
	if text == "" {
		return b
	}
	return add(b, code, []byte(strings.ToValidUTF8(text[:min(len(text), most)], "\ufffd")))
}

// padded fills up to a multiple of four, as every part of a block is. A block
// begins at one.
func padded(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// interfaces names the interfaces on which segments were recorded.
func interfaces(events []journal.Event) (names []string) {
	for _, e := range events {
		var name string
		switch {
		case e.Change != nil && e.Change.Segments:
			name = e.Host + " " + e.Change.Interface
		case e.Segment != nil:
			name = place(e)
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func place(e journal.Event) string { return e.Host + " " + e.Segment.Interface }
