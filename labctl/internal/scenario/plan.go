package scenario

import (
	"encoding/json"
	"net/netip"
	"time"

	"restartlab/labctl/internal/journal"
)

// Plan is all that the inside of a run is told: labs with every name looked
// up, every default filled in and every loop unrolled. It depends on nothing
// outside the scenario: no path, time or report folder.
type Plan struct {
	Labs []Lab `json:"labs"`
	// Jobs is how many labs the inside may keep alive at once; 0 leaves it to
	// the inside.
	Jobs int `json:"jobs,omitempty"`
	// Layer says who tells of state changes. It is for tests: a run takes the
	// best that the machine allows.
	Layer Layer `json:"layer,omitempty"`
}

// Layer is what tells of the state changes of sockets.
type Layer string

// The layers.
const (
	BestLayer     Layer = ""         // the kernel where it may be asked, else as LayerInferred
	LayerInferred Layer = "inferred" // they are worked out, even where the kernel may be asked
	BothLayers    Layer = "both"     // the kernel's word and what is worked out, side by side
)

// Lab is one isolated experiment. Its Name is its own in the plan: that of the
// scenario, or in a study that of the cell, and " #2" after it for its second
// run.
type Lab struct {
	Name string `json:"name"`
	// Cell is the lab's place in the scenario's matrix: the name of its value on
	// each axis, in the order of journal.Scenario.Axes. Empty without a matrix.
	Cell     []string  `json:"cell,omitempty"`
	Run      int       `json:"run,omitempty"` // from 1, when every lab runs several times
	Port     uint16    `json:"port"`
	Hosts    []Host    `json:"hosts"` // one, or two joined by a link
	Programs []Program `json:"programs"`
	Sockets  []Socket  `json:"sockets,omitempty"`
	Steps    []Step    `json:"steps"`
}

// Host is a network namespace with its addresses and kernel settings.
type Host struct {
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses"`
	Sysctls   []Sysctl       `json:"sysctls,omitempty"` // in the order written
}

// Sysctl is one kernel setting: a dotted name and its text.
type Sysctl struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Program is a program of the lab. It runs once at a time, as a process of its
// own on its host. At most one of Server, Client and Exec is set; with none it
// makes the calls of the steps on the sockets that name it, starts at the first
// of them and ends at its stop.
type Program struct {
	Name   string  `json:"name"`
	Host   string  `json:"host"`
	UID    *uint32 `json:"uid,omitempty"` // nil: the user who runs labctl
	Server *Server `json:"server,omitempty"`
	Client *Client `json:"client,omitempty"`
	Exec   *Exec   `json:"exec,omitempty"`
}

// Options are the socket options set before bind or connect. An absent one is
// not set at all.
type Options struct {
	ReuseAddr *bool `json:"reuseaddr,omitempty"`
	ReusePort *bool `json:"reuseport,omitempty"`
	V6Only    *bool `json:"v6only,omitempty"`
	// Linger is the time of SO_LINGER, whole seconds; 0 makes close() send a
	// reset.
	Linger *time.Duration `json:"linger,omitempty"`
}

// The kinds of socket.
const (
	TCP4 = "tcp4"
	TCP6 = "tcp6"
	UDP4 = "udp4"
	UDP6 = "udp6"
)

// Socket is a socket that steps make calls on, one real system call each. The
// first of them makes it and sets its options.
type Socket struct {
	Name string `json:"name"`
	// Program makes the calls; empty: a process of the socket's own, with the
	// socket's name.
	Program string  `json:"program,omitempty"`
	Host    string  `json:"host"`
	UID     *uint32 `json:"uid,omitempty"` // of its own process; nil: the user who runs labctl
	Kind    string  `json:"kind"`          // TCP4, ...
	// Address and Port are where it binds unless the step says otherwise.
	Address netip.Addr `json:"address"`
	Port    uint16     `json:"port"`
	Options []Option   `json:"options,omitempty"` // in the order written
	// Count is how many alike the name stands for, at least 1. A step's call is
	// made on each.
	Count int `json:"count"`
	// Made says that no step makes it by socket(): accept, pass or inherit
	// brings it about, by the name after "as". Kind, Address and Options are
	// empty then.
	Made bool `json:"made,omitempty"`
}

// Option is a socket option to set. Exactly one of Int, Linger and Text is its
// value.
type Option struct {
	Name  string `json:"name"`  // as the field knows it: SO_REUSEADDR, or "6/25" for a numeric one
	Level int    `json:"level"` // setsockopt's numbers
	Opt   int    `json:"opt"`
	// LevelName is SOL_SOCKET, IPPROTO_TCP, ... or the number.
	LevelName string         `json:"level_name"`
	Int       *int           `json:"int,omitempty"`
	Linger    *time.Duration `json:"linger,omitempty"` // whole seconds, onoff 1
	Text      string         `json:"text,omitempty"`   // SO_BINDTODEVICE: "lo", or "link" for the host's interface
}

// The states that a step can hold a socket in.
var Holdable = []string{"BOUND", "LISTEN", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT1", "FIN_WAIT2",
	"CLOSE_WAIT", "LAST_ACK", "CLOSING", "TIME_WAIT"}

// The ways in which a server serves a connection.
const (
	ServeGreet = "greet" // send "connIdx=N" and close, as in the article
	ServeEcho  = "echo"  // send back what comes, close when the client has closed
	ServeHold  = "hold"  // keep it open and say nothing
	ServeFork  = "fork"  // a child process greets and keeps it, even when the parent is gone
)

// Server is the article's server.
type Server struct {
	Address netip.Addr `json:"address"`
	Port    uint16     `json:"port"`
	Options Options    `json:"options,omitzero"`
	Backlog int        `json:"backlog"`
	Serve   string     `json:"serve"`
}

// Client is the article's client.
type Client struct {
	Address netip.Addr `json:"address"`
	Port    uint16     `json:"port"`
	Options Options    `json:"options,omitzero"`
	// CloseFirst closes the connection after the greeting, without waiting
	// for the server's FIN.
	CloseFirst bool `json:"close_first,omitempty"`
	// Hold keeps every connection open until the process is signalled.
	Hold  bool `json:"hold,omitempty"`
	Count int  `json:"count"` // connections, one after another; with Hold all are open at once
}

// Exec is any other program. Its output and exit are recorded, its system
// calls are not.
type Exec struct {
	Argv  []string `json:"argv"`
	Env   []string `json:"env,omitempty"` // NAME=value, added to labctl's own
	Dir   string   `json:"dir,omitempty"`
	User  string   `json:"user,omitempty"`
	Ready Ready    `json:"ready"`
}

// Ready says when a started exec counts as ready. Exactly one field is set.
type Ready struct {
	Port uint16 `json:"port,omitempty"` // it, or anything on its host, listens on this port
	Line string `json:"line,omitempty"` // it printed this whole line
}

// The verbs.
const (
	VerbStart   = "start"
	VerbRun     = "run"
	VerbStop    = "stop"
	VerbSignal  = "signal"
	VerbWait    = "wait"
	VerbNetstat = "netstat"
	VerbSysctl  = "sysctl"
	VerbLink    = "link"

	VerbBind       = "bind"
	VerbListen     = "listen"
	VerbConnect    = "connect"
	VerbAccept     = "accept"
	VerbSend       = "send"
	VerbRecv       = "recv"
	VerbShutdown   = "shutdown"
	VerbClose      = "close"
	VerbSetsockopt = "setsockopt"
	VerbInherit    = "inherit" // a forked child gets a copy of the descriptor
	VerbPass       = "pass"    // SCM_RIGHTS to another program
	VerbDestroy    = "destroy" // SOCK_DESTROY
	VerbHold       = "hold"
	VerbDrop       = "drop"
)

// Step is one action and what must be seen of it.
type Step struct {
	Index int          `json:"index"` // from 1
	ID    string       `json:"id"`
	Verb  string       `json:"verb"`
	Title journal.Text `json:"title,omitzero"`
	Line  int          `json:"line"` // in the scenario file
	// Within is the deadline for what the step waits for.
	Within time.Duration `json:"within"`

	Program string `json:"program,omitempty"` // start, run, stop, signal; wait until lines or exit
	Host    string `json:"host,omitempty"`    // wait until states or queued; netstat, sysctl, link

	Signal  string        `json:"signal,omitempty"`  // stop, signal: "SIGINT"
	Sysctls []Sysctl      `json:"sysctls,omitempty"` // sysctl
	State   string        `json:"state,omitempty"`   // link: "up", "down"
	For     time.Duration `json:"for,omitempty"`     // wait: let this much time pass
	Until   *Expect       `json:"until,omitempty"`   // wait

	// Socket is what bind to hold act on, and what a wait until queued looks at.
	Socket string `json:"socket,omitempty"`
	// Address and Port are bind's and connect's, every default filled in.
	Address netip.Addr `json:"address,omitzero"`
	Port    uint16     `json:"port,omitempty"`
	Backlog int        `json:"backlog,omitempty"` // listen
	// Nonblock makes connect return at once (EINPROGRESS), and accept and recv
	// answer EAGAIN where they would wait.
	Nonblock bool     `json:"nonblock,omitempty"`
	As       string   `json:"as,omitempty"`      // accept, pass, inherit: the new sockets' name
	Count    int      `json:"count,omitempty"`   // accept: how many calls; drop: how many segments, 0 for all
	Text     string   `json:"text,omitempty"`    // send
	How      string   `json:"how,omitempty"`     // shutdown: SHUT_RD, SHUT_WR, SHUT_RDWR
	Options  []Option `json:"options,omitempty"` // setsockopt
	// To is the program that gets the socket by pass, or the name of inherit's
	// child: a program without server, client and exec.
	To       string `json:"to,omitempty"`
	Hold     string `json:"hold,omitempty"`     // hold: one of Holdable
	Peer     string `json:"peer,omitempty"`     // hold: the host at the other end
	Orphan   bool   `json:"orphan,omitempty"`   // hold: close the descriptor rather than shut it down
	Segments string `json:"segments,omitempty"` // drop: SYN, ACK, FIN, RST or any

	Expect *Expect `json:"expect,omitempty"` // nil: the step must succeed
	// Written is the expectation (for a wait, with its until) as the
	// user wrote it, in JSON, for the report.
	Written json.RawMessage `json:"written,omitempty"`
}
