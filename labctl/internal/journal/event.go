// Package journal defines the events of a run and how they are written and
// read: one JSON object a line, the header first.
//
// The journal is the only thing that leaves the inside of a lab, and every
// report is a pure function of it. The package is pure: it needs no privilege
// and knows nothing of namespaces, processes or the wall clock.
package journal

import (
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
)

// Version is the version of the journal's format, stated in its header.
const Version = 1

// Kind says which of an event's payloads is set.
type Kind string

// The kinds of event.
const (
	KindHeader  Kind = "header"  // line 1: what ran, on which machine
	KindLab     Kind = "lab"     // a lab begins or ends
	KindHost    Kind = "host"    // a link, address or sysctl of a host changed
	KindStep    Kind = "step"    // a step of the scenario begins or ends
	KindProcess Kind = "process" // a process started, printed a line, was signalled, exited
	KindSyscall Kind = "syscall" // a socket call of one of the lab's own programs returned
	KindSockets Kind = "sockets" // a host's socket table
	KindState   Kind = "state"   // a socket changed its TCP state
	KindSegment Kind = "segment" // a TCP segment left or reached a host
	KindReset   Kind = "reset"   // a host's kernel sent an RST, or took one for a socket
	KindLoss    Kind = "loss"    // an observer could not keep up: events are missing
	// KindPause: the lab waits for its reader before a step.
	KindPause Kind = "pause"
	// KindPrediction: what the reader said that a step would do. The outside
	// writes these, behind the lab's end.
	KindPrediction Kind = "prediction"
	KindNote       Kind = "note" // anything a reader should know, such as a fallback
)

// Event is one line of the journal. Exactly one payload is set, the one its
// Kind names.
type Event struct {
	// N numbers the events in the order in which they were recorded; the
	// header is 1. Explanations refer to events by this number.
	N int `json:"n"`
	// T is CLOCK_MONOTONIC in nanoseconds since the start of the run, as
	// close to what happened as the source allows: for a system call, when
	// it returned; for a socket table, when the dump was complete.
	T int64 `json:"t"`
	// Lab names the lab; a run may hold many side by side.
	Lab string `json:"lab,omitempty"`
	// Step is the index, from 1, of the step under way; 0 outside any.
	Step    int    `json:"step,omitempty"`
	Kind    Kind   `json:"kind"`
	Host    string `json:"host,omitempty"`
	Program string `json:"program,omitempty"`
	// PID is the process, numbered as the lab's own PID namespace does.
	PID int `json:"pid,omitempty"`

	Header     *Header     `json:"header,omitempty"`
	LabInfo    *Lab        `json:"lab_info,omitempty"`
	Change     *Change     `json:"change,omitempty"`
	StepRun    *Step       `json:"step_run,omitempty"`
	Process    *Process    `json:"process,omitempty"`
	Syscall    *Syscall    `json:"syscall,omitempty"`
	Sockets    *Sockets    `json:"sockets,omitempty"`
	State      *State      `json:"state,omitempty"`
	Segment    *Segment    `json:"segment,omitempty"`
	Reset      *Reset      `json:"reset,omitempty"`
	Loss       *Loss       `json:"loss,omitempty"`
	Pause      *Pause      `json:"pause,omitempty"`
	Prediction *Prediction `json:"prediction,omitempty"`
	Note       *Note       `json:"note,omitempty"`
}

// Header is the first line. The outside writes it: nothing in it is known to
// the lab itself.
type Header struct {
	Version  int      `json:"version"` // of the journal's format: Version
	Labctl   string   `json:"labctl"`  // version of the program
	Scenario Scenario `json:"scenario"`
	Machine  Machine  `json:"machine"`
	Started  string   `json:"started"` // wall time, RFC 3339 with nanoseconds
	// Rootless says that the lab ran in a user namespace, without privilege
	// on the machine.
	Rootless bool `json:"rootless"`
	// Guest is set if the lab ran in a machine with a kernel of its own, whose
	// facts Machine then has.
	Guest *Guest `json:"guest,omitempty"`
	// Author is who handed the run in, as --author said.
	Author string `json:"author,omitempty"`
}

// Scenario is what was run, whole, so that the run can be repeated from the
// journal alone.
type Scenario struct {
	Name   string `json:"name"`
	File   string `json:"file"`   // as named by the user, or "NAME (shipped)"
	Digest string `json:"digest"` // "sha256:" and the hex digest of Text
	Text   string `json:"text"`   // the YAML file
	Title  Text   `json:"title,omitzero"`
	Lesson Text   `json:"lesson,omitzero"`
	// Set holds the values given by --set name=value.
	Set map[string]string `json:"set,omitempty"`
	// Axes are those of the scenario's matrix, as far as --set left them.
	Axes []Axis `json:"axes,omitempty"`
	// Command is the user's own server, given after --, in place of the
	// program app.
	Command []string `json:"command,omitempty"`
	// Joined are the hosts that were there before the run (--join): the
	// processes whose network namespaces they are, by host.
	Joined map[string]int `json:"joined,omitempty"`
	// Live says that the lab played no steps: it stayed up, and programs were
	// started in it by hand (labctl up).
	Live bool `json:"live,omitempty"`
}

// Axis is one axis of a matrix: its name and the names of its values.
type Axis struct {
	Name   string   `json:"name"`
	Values []string `json:"values"`
}

// Machine is the machine that the lab ran on.
type Machine struct {
	Kernel      string `json:"kernel"`       // uname release
	KernelBuild string `json:"kernel_build"` // uname version
	Arch        string `json:"arch"`         // uname machine
	HZ          int    `json:"hz,omitempty"` // timer interrupts a second, 0 if not known
	CPUs        int    `json:"cpus"`
	OS          string `json:"os,omitempty"` // PRETTY_NAME of os-release
}

// Guest is a machine that was made to run another kernel.
type Guest struct {
	Kernel string `json:"kernel"`        // where the kernel is from
	Digest string `json:"kernel_digest"` // of its image and its modules
	QEMU   string `json:"qemu"`          // version
	Accel  string `json:"accel"`         // "tcg" or "kvm"
	// Warp says that the guest's clock counted instructions and jumped over all
	// time in which nobody had anything to do: durations are virtual, those of
	// calls are made up, and the same seed gives the same journal.
	Warp   bool   `json:"warp"`
	Seed   uint64 `json:"seed"`
	Memory int    `json:"memory_mib"`
	// Wall is how long the run took in real time, in ns, and Ratio how much
	// longer it was for the guest. 0 if the run did not come to its end.
	Wall  int64   `json:"wall_ns,omitempty"`
	Ratio float64 `json:"ratio,omitempty"`
	Host  Machine `json:"host"` // the machine around it
}

// Warped reports whether the durations of the run are virtual.
func (h *Header) Warped() bool { return h.Guest != nil && h.Guest.Warp }

// Text is a text in English and, if written, in Chinese. In JSON it is a plain
// string when there is English alone.
type Text struct {
	EN string
	ZH string
}

type textObject struct {
	EN string `json:"en"`
	ZH string `json:"zh,omitempty"`
}

// IsZero reports whether there is no text at all.
func (t Text) IsZero() bool { return t == Text{} }

// MarshalJSON writes a plain string for English alone, else {en, zh}.
func (t Text) MarshalJSON() ([]byte, error) {
	if t.ZH == "" {
		return json.Marshal(t.EN)
	}
	return json.Marshal(textObject(t))
}

// UnmarshalJSON reads what MarshalJSON writes.
func (t *Text) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		t.ZH = ""
		return json.Unmarshal(b, &t.EN)
	}
	return json.Unmarshal(b, (*textObject)(t))
}

// Phase is where in its life a lab, step or process stands.
type Phase string

// The phases.
const (
	PhaseBegin  Phase = "begin"  // lab, step
	PhaseEnd    Phase = "end"    // lab, step
	PhaseStart  Phase = "start"  // process: runs its program
	PhaseOutput Phase = "output" // process: wrote a line
	PhaseSignal Phase = "signal" // process: the lab sent it a signal
	PhaseExit   Phase = "exit"   // process: gone; whatever it held is closed
)

// Verdict is the outcome of a lab or a step.
type Verdict string

// The verdicts. A journal without its lab's end is Incomplete.
const (
	Pass       Verdict = "pass"
	Fail       Verdict = "fail"       // an expectation did not hold
	Error      Verdict = "error"      // the lab itself could not do its work
	Skipped    Verdict = "skipped"    // a step after the one that ended the lab; a lab that this machine cannot play
	Incomplete Verdict = "incomplete" // interrupted or killed
)

// Lab opens and closes a lab.
type Lab struct {
	Phase Phase `json:"phase"` // begin, end
	// Wall is CLOCK_REALTIME in ns since 1970, read together with Event.T: at
	// begin and end, what joins the two clocks.
	Wall  int64  `json:"wall_ns,omitempty"`
	Port  uint16 `json:"port,omitempty"`
	Steps int    `json:"steps,omitempty"` // begin: how many there are
	// Plan names the steps in order, so that those that the lab never reaches
	// have a name too. At begin.
	Plan []Planned `json:"plan,omitempty"`
	// Cell is the lab's place in the matrix, the name of its value on each of
	// Scenario.Axes; Run counts its runs from 1 if it has several. At begin.
	Cell    []string `json:"cell,omitempty"`
	Run     int      `json:"run,omitempty"`
	Verdict Verdict  `json:"verdict,omitempty"` // end
	Error   string   `json:"error,omitempty"`   // end: why the verdict is error
	// Skipped is why the verdict is skipped: what this machine lacks. At end.
	Skipped string `json:"skipped,omitempty"`
	// Refused says that the machine refused what labs need, such as the
	// right to create a link.
	Refused bool `json:"refused,omitempty"`
}

// Planned is a step that a lab has before it.
type Planned struct {
	ID    string `json:"id"`
	Verb  string `json:"verb"`
	Title Text   `json:"title,omitzero"`
}

// Change is something that changed on a host, made by the lab.
type Change struct {
	What      string            `json:"what"`                // "up", "link", "sysctl", "drop", "destroy"
	Interface string            `json:"interface,omitempty"` // up, link
	State     string            `json:"state,omitempty"`     // link: "up" or "down"
	Addresses []netip.Prefix    `json:"addresses,omitempty"` // up
	Sysctls   map[string]string `json:"sysctls,omitempty"`   // up: the ones that matter, as read; sysctl: as read after the write
	// Detail says in words which segments are dropped from now on, or which socket
	// was destroyed and what the kernel answered.
	Detail string `json:"detail,omitempty"` // drop, destroy
	// Segments says that the segments on Interface are recorded from now on.
	Segments bool `json:"segments,omitempty"` // up
}

// Step opens and closes a step.
type Step struct {
	Phase Phase  `json:"phase"` // begin, end
	Index int    `json:"index"` // from 1
	ID    string `json:"id"`
	Verb  string `json:"verb"`
	Title Text   `json:"title,omitzero"`
	// Object is what the verb acts on: a program, a socket or a host.
	Object string `json:"object,omitempty"`
	Line   int    `json:"line,omitempty"` // in the scenario file
	Within int64  `json:"within_ns,omitempty"`
	// Expected is the expectation as written, in JSON; absent when the step
	// need only succeed. For a wait it is its until and its expectation.
	Expected json.RawMessage `json:"expected,omitempty"`

	Verdict    Verdict    `json:"verdict,omitempty"` // end
	Observed   *Observed  `json:"observed,omitempty"`
	Mismatches []Mismatch `json:"mismatches,omitempty"`
	Duration   int64      `json:"duration_ns,omitempty"`
}

// Observed is what a step saw, in the words that expectations use. A field that is
// absent was not looked at; an empty tally was, and found nothing.
type Observed struct {
	Result  string         `json:"result,omitempty"`       // "ok" or an errno's name
	Bind    string         `json:"bind,omitempty"`         // "ok" or an errno's name
	Listen  string         `json:"listen,omitempty"`       // "ok" or an errno's name
	Connect string         `json:"connect,omitempty"`      // "ok" or an errno's name; the last of several
	Ready   string         `json:"ready,omitempty"`        // exec: what showed that it was ready
	Exit    *int           `json:"exit,omitempty"`         // exit code
	Signal  string         `json:"signal,omitempty"`       // the signal that ended the process
	Lines   []string       `json:"lines,omitempty"`        // whole output lines, the last 200
	Unkept  int            `json:"lines_unkept,omitempty"` // lines beyond what is kept of one process
	Holders map[string]int `json:"holders,omitzero"`       // state -> sockets that held the port at the failed bind or listen
	States  map[string]int `json:"states,omitzero"`        // state -> sockets on the lab's port
	Queued  *int           `json:"queued,omitempty"`       // connections that no program has accepted
	// Text is what recv read; Port the local port of the socket after a bind or
	// connect. Of several sockets alike, those of the first that differs from
	// the rest, or else of the first.
	Text string `json:"text,omitempty"`
	Port *int   `json:"port,omitempty"`
	// Results tallies the results of a call made on several sockets alike;
	// Result is then the first that is not ok.
	Results map[string]int `json:"results,omitempty"`
	Took    int64          `json:"took_ns,omitempty"`
	// Failure says in words why the step did not succeed; empty if it did.
	Failure string `json:"failure,omitempty"`
}

// Mismatch is one field of an expectation that did not hold.
type Mismatch struct {
	Field string `json:"field"` // "bind", "holders.TIME_WAIT", ...; "step" for a step that should have succeeded
	Want  string `json:"want"`
	Got   string `json:"got"`
}

// Process is one moment of a process of the lab.
type Process struct {
	Phase  Phase    `json:"phase"` // start, output, signal, exit
	Argv   []string `json:"argv,omitempty"`
	Parent int      `json:"parent,omitempty"` // start: the process that forked it, if a program of the lab
	UID    int      `json:"uid,omitempty"`
	Stream string   `json:"stream,omitempty"` // output: "stdout" or "stderr"
	// Line is a whole output line without its end. A line over 4,096 bytes
	// comes in several events, Partial set on all but the last; bytes that
	// are not UTF-8 are replaced.
	Line    string `json:"line,omitempty"`
	Partial bool   `json:"partial,omitempty"`
	Exit    *int   `json:"exit,omitempty"`   // exit: exit code, unless a signal ended it
	Signal  string `json:"signal,omitempty"` // signal: which; exit: the one that ended it
}

// Syscall is one socket call, as the process that made it recorded it.
type Syscall struct {
	Of       string `json:"of,omitempty"` // the scenario's socket, where it names one; "calls 3" is the third of several
	Name     string `json:"name"`         // socket, setsockopt, bind, listen, accept, connect, read, write, shutdown, close, sendmsg and recvmsg with a descriptor
	FD       int    `json:"fd"`           // the socket; for socket and accept the new one, -1 if there is none
	Listener int    `json:"listener,omitempty"`
	Args     Args   `json:"args,omitzero"`
	Result   int    `json:"result"`                 // what the kernel returned; -1 on failure
	Errno    string `json:"errno,omitempty"`        // name, such as EADDRINUSE; empty on success
	Number   int    `json:"errno_number,omitempty"` // 98
	Start    int64  `json:"start"`                  // ns, the same clock as Event.T
	Duration int64  `json:"duration_ns"`
	// Socket is the socket after the call, read from the kernel by the
	// recorder with getsockopt, getsockname and getpeername (not recorded
	// as calls of the program); for close, as it was before.
	Socket *SocketFacts `json:"socket,omitempty"`
}

// Failed reports whether the kernel refused the call.
func (s *Syscall) Failed() bool { return s.Errno != "" }

// Args are a call's decoded arguments; which are set depends on the call.
type Args struct {
	Domain  string         `json:"domain,omitempty"` // socket: AF_INET, AF_INET6
	Type    string         `json:"type,omitempty"`   // socket: SOCK_STREAM
	Address netip.AddrPort `json:"address,omitzero"` // bind, connect; accept: the peer
	Backlog *int           `json:"backlog,omitempty"`
	Level   string         `json:"level,omitempty"`  // setsockopt: SOL_SOCKET
	Option  string         `json:"option,omitempty"` // setsockopt: SO_REUSEADDR
	Value   string         `json:"value,omitempty"`  // setsockopt: "1", "{onoff 1, linger 0 s}"
	Text    string         `json:"text,omitempty"`   // read, write: the first bytes, quoted only by JSON
	Bytes   *int           `json:"bytes,omitempty"`  // read: room; write: how many
	How     string         `json:"how,omitempty"`    // shutdown: SHUT_WR
}

// SocketFacts identify a socket and tell what the kernel holds of it. The
// cookie is the same in SO_COOKIE, in sock_diag, and for the TIME_WAIT
// minisocket that a socket becomes.
type SocketFacts struct {
	Cookie    uint64         `json:"cookie,omitempty"`
	Local     netip.AddrPort `json:"local,omitzero"`
	Remote    netip.AddrPort `json:"remote,omitzero"`
	ReuseAddr *bool          `json:"reuseaddr,omitempty"`
	ReusePort *bool          `json:"reuseport,omitempty"`
	V6Only    *bool          `json:"v6only,omitempty"` // IPv6 sockets
}

// Sockets is a host's TCP socket table at one moment, IPv4 and IPv6.
type Sockets struct {
	// Reason says why the table was read: "step" at a step's end, "refused"
	// right after a bind or listen that failed, "wait" while waiting, "held"
	// while the lab waits for its reader, "live" in a lab that stays.
	Reason string `json:"reason"`
	// After is the number of the event that the table was read for: the
	// refused system call. 0 otherwise.
	After int `json:"after,omitempty"`
	// Port, if not 0, says that only sockets on this local port are listed.
	Port uint16 `json:"port,omitempty"`
	// UDP says that the rows are the host's UDP sockets: it tells nothing of
	// others.
	UDP  bool     `json:"udp,omitempty"`
	Rows []Socket `json:"rows"`
	// Unlisted names what this kernel cannot list, such as "BOUND" (bound
	// sockets that neither listen nor connect, before Linux 6.8).
	Unlisted []string `json:"unlisted,omitempty"`
	Error    string   `json:"error,omitempty"` // the dump failed, and how
	// Duration is how long the reading took, which ended at Event.T: the rows
	// are of moments in between.
	Duration int64 `json:"duration_ns,omitempty"`
}

// Socket is one row of a socket table.
type Socket struct {
	Family string         `json:"family"` // "tcp" or "tcp6", as netstat says; "udp" or "udp6" after a refused bind of one
	State  string         `json:"state"`  // LISTEN, TIME_WAIT, BOUND, ...
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote,omitzero"` // zero for a listener
	RecvQ  uint32         `json:"recv_q"`          // bytes not read; LISTEN: connections not accepted
	SendQ  uint32         `json:"send_q"`          // bytes not acknowledged; LISTEN: the backlog
	// Timer is the kernel timer that runs: "retransmit", "keepalive",
	// "timewait", "probe", or empty; TimeLeft is what is left of it in ms.
	Timer    string `json:"timer,omitempty"`
	TimeLeft *int64 `json:"time_left_ms,omitempty"`
	Retrans  uint8  `json:"retransmits,omitempty"`
	UID      uint32 `json:"uid"`
	// Inode is 0 for a socket that no process holds: TIME_WAIT, an orphan, a
	// connection not yet accepted.
	Inode     uint64 `json:"inode,omitempty"`
	Cookie    uint64 `json:"cookie"`
	Interface uint32 `json:"interface,omitempty"` // SO_BINDTODEVICE
	V6Only    *bool  `json:"v6only,omitempty"`    // IPv6 listeners and bound sockets, where the kernel says
	// ReuseAddr, ReusePort and Bucket are what the kernel's memory holds, in tables
	// after a refused call and where a BPF iterator may read it. ReuseAddr is
	// its skc_reuse, ReusePort its skc_reuseport.
	ReuseAddr *bool   `json:"reuseaddr,omitempty"`
	ReusePort *bool   `json:"reuseport,omitempty"`
	Bucket    *Bucket `json:"bucket,omitempty"`
}

// Bucket is what all sockets bound to one port of a host share in the kernel
// (struct inet_bind_bucket).
type Bucket struct {
	// FastReuse is above 0 while all of them came with SO_REUSEADDR and none has
	// listened, so that a bind with it is allowed at a glance.
	FastReuse int `json:"fastreuse"`
	// FastReusePort is not 0 while all of them have SO_REUSEPORT, and UID whose
	// they are then.
	FastReusePort int     `json:"fastreuseport"`
	UID           *uint32 `json:"uid,omitempty"`
}

// State is one transition of one socket.
type State struct {
	// Cookie identifies the socket, as in SocketFacts; a TIME_WAIT keeps the
	// cookie of the socket it was.
	Cookie uint64         `json:"cookie"`
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	// From and To are states as in Socket.State; CLOSE is no socket any more,
	// or none yet.
	From string `json:"from"`
	To   string `json:"to"`
	// Source says who saw it: SourceKernel (a tracepoint at the moment of the
	// change), SourceDiag (a look into the socket table: the change was before
	// Event.T) or SourceInferred (worked out from segments and calls).
	Source string `json:"source"`
	// Why tells what the source knows of the cause: "timer" when a TIME_WAIT
	// ran out, "reset", "reused" for a TIME_WAIT taken over by a new
	// connection; empty if it tells nothing.
	Why string `json:"why,omitempty"`
	// Due is when the kernel will let a TIME_WAIT go at the latest, ns on the
	// journal's clock, as known at its birth; 0 if not known.
	Due int64 `json:"due,omitempty"`
}

// The sources of a State.
const (
	SourceKernel   = "kernel"
	SourceDiag     = "sockdiag"
	SourceInferred = "inferred"
)

// Segment is a TCP segment as a host's interface saw it. One that crosses the
// link is recorded twice: leaving one host and reaching the other.
type Segment struct {
	Interface string         `json:"interface"`
	Out       bool           `json:"out"` // it leaves the host; else it reaches it
	From      netip.AddrPort `json:"from"`
	To        netip.AddrPort `json:"to"`
	Flags     []string       `json:"flags"` // SYN, ACK, FIN, RST, PSH, URG, ECE, CWR, in this order
	Seq       uint32         `json:"seq"`   // as on the wire
	Ack       uint32         `json:"ack,omitempty"`
	Window    uint16         `json:"window"`
	Length    int            `json:"length"`            // payload bytes
	Options   []string       `json:"options,omitempty"` // "mss 1460", "sackOK", "ts 1 2", "wscale 7"
	// Wall is the kernel's time stamp, CLOCK_REALTIME ns since 1970; Event.T
	// is the same moment on the journal's clock.
	Wall int64 `json:"wall_ns"`
	// Frame is the packet from its link layer on, cut at 256 bytes of Size.
	Frame []byte `json:"frame"`
	Size  int    `json:"size"`
}

// Reset is an RST where a host's kernel sends it, or lets a socket take it, as the
// exact layer tells. Source is always SourceKernel.
type Reset struct {
	Sent bool `json:"sent"` // it went out; else a socket accepted it and closes
	// Cookie identifies the socket, as in SocketFacts; 0 if it has none or there
	// is none, as on a closed port.
	Cookie uint64 `json:"cookie,omitempty"`
	// Local and Remote are the ends of the connection, or of the segment that
	// the RST answers.
	Local  netip.AddrPort `json:"local,omitzero"`
	Remote netip.AddrPort `json:"remote,omitzero"`
	// State is the socket's at that moment: CLOSE if the host has given it up
	// already, LISTEN if a listener answers; empty without a socket.
	State string `json:"state,omitempty"`
	// Reason is why it was sent, in the kernel's own word, such as NO_SOCKET or
	// TCP_ABORT_ON_LINGER (enum sk_rst_reason, since Linux 6.10).
	Reason string `json:"reason,omitempty"`
}

// Loss says that an observer dropped events between the last one and this.
type Loss struct {
	Observer string `json:"observer"` // "capture", "trace"
	Count    int    `json:"count"`
}

// Note is a remark of the program about the run itself.
type Note struct {
	Text string `json:"text"`
}

// LabName is the name of a cell's lab: its own, and " #2" after it for the
// second of several runs.
func LabName(cell string, run int) string {
	if run == 0 {
		return cell
	}
	return cell + " #" + strconv.Itoa(run)
}

// CellName takes the run off the name that LabName made.
func CellName(lab string, run int) string {
	return strings.TrimSuffix(lab, LabName("", run))
}
