// Package ladder turns a run's journal into the picture of the textbook: time
// goes down, each host has a lane with its processes and its sockets' states,
// and segments cross between the lanes. It draws it as SVG, as text of fixed
// width and as a Mermaid sequence diagram, and each socket's way through the
// state diagram of RFC 9293.
//
// It may assume nothing of a journal but its types: events may be missing, out
// of order, or made up. It is pure, and promises that the same events give the
// same bytes, that nothing is drawn that no event tells (what was worked out,
// or only seen now and then, is drawn otherwise than what was recorded, and
// what was not recorded at all is named), and that whatever a program printed
// is escaped.
package ladder

import (
	"net/netip"
	"slices"

	"restartlab/labctl/internal/journal"
)

// MostEvents is how many events are drawn, the first ones of a run; the notes
// then say how many are not.
const MostEvents = 10_000

// mostLanes is how many hosts have a lane; a lab has one or two.
const mostLanes = 2

// Ladder is the picture before it is drawn: rows in the order of time, and what
// stands beside them over several rows.
type Ladder struct {
	Title string
	// Facts are where and when: kernel and date.
	Facts     []string
	Hosts     []Host
	Sockets   []*Socket
	Processes []*Process
	Rows      []Row
	// Notes say what was not recorded, was lost or is not drawn.
	Notes []string
}

// Host is a lane.
type Host struct {
	Name      string
	Addresses []string
}

// Socket is a bar in its host's lane.
type Socket struct {
	// Name is what labels call it, "s1": the first one of the run.
	Name   string
	Host   int // its lane, -1 without one
	Cookie uint64
	// Program made or accepted it, empty if no call tells.
	Program       string
	Local, Remote netip.AddrPort
	// First and Last are the rows between which anything is known of it.
	First, Last int
	// Ended says that it was seen to be gone at Last.
	Ended bool
	Spans []Span
	// Path are its transitions, where any were recorded, in order.
	Path []Transition

	column int
	marks  []mark
	traced bool // its states come from state events, not from socket tables
}

// Span is a state over rows.
type Span struct {
	State    string // empty: not known
	From, To int    // rows
	// Sure says that the change into the state was recorded when it happened
	// and the socket observed from then on; otherwise the state was worked
	// out, or seen in socket tables now and then.
	Sure bool
}

// Transition is a change of state.
type Transition struct {
	T        int64
	From, To string
	Source   string
	Why      string
}

// mark is a state known at a row.
type mark struct {
	row   int
	state string
	sure  bool
}

// Process is a thin bar in its host's lane.
type Process struct {
	Program     string
	PID         int
	Host        int
	First, Last int
	Ended       bool

	column int
	calls  bool // some of its calls were recorded
}

// Kind says what a row shows.
type Kind int

// The kinds of row.
const (
	StepRow    Kind = iota // a step begins: its title
	CallRow                // a system call
	ProcessRow             // a process starts, is signalled, is gone
	OutputRow              // a line of output
	StateRow               // a socket changes its state
	LookRow                // a socket table tells something new
	HolderRow              // the table read after a refused call names a holder
	SegmentRow             // a segment leaves a host
	ArriveRow              // the same segment reaches the other
	HostRow                // a link or setting is changed
	FoldRow                // time in which nothing happened
	NoteRow                // a remark, a loss, the lab's end
	ResetRow               // a host sends an RST, or a socket takes one
)

// Row is one line of the picture.
type Row struct {
	Kind Kind
	T    int64 // ns since the run's start
	N    int   // the event
	Host int   // its lane, -1 for the whole width
	Text string
	// Detail is what a reader sees who asks for more.
	Detail string
	Bad    bool // the kernel refused it, or events were lost
	Step   int  // StepRow: its index
	Mark   string
	// Process and Sockets are what the row is about; Sockets are indexes into
	// Ladder.Sockets, the first one its subject.
	Process *Process
	Sockets []int
	// Holders are the sockets that had the port of a refused call.
	Holders []int
	// Segment is set in rows of segments.
	Segment *Segment
}

// Segment is an arrow.
type Segment struct {
	// Out and In are the rows where it left and reached a host, -1 if that was
	// not recorded.
	Out, In int
	// From and To are lanes, -1 if not known.
	From, To int
	// Lost says that it left, that the other host was watched, and that it
	// was not seen to arrive there.
	Lost bool
	// Label is "SYN seq 0", Short "PSH,ACK 1:11 ack 1". Numbers are relative
	// to the first of their direction.
	Label, Short string
	Flags        []string
}

// Build makes the picture of a journal, whole or cut short. Without a header
// it is untitled.
func Build(events []journal.Event) *Ladder {
	b := newBuilder(events)
	b.rows()
	b.bars()
	b.finish()
	return &b.ladder
}

// Shows reports whether the step of an index has a row.
func (l *Ladder) Shows(step int) bool {
	return l != nil && slices.ContainsFunc(l.Rows, func(r Row) bool { return r.Kind == StepRow && r.Step == step })
}
