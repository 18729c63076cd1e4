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
}

// Lab is one isolated experiment.
type Lab struct {
	Name     string    `json:"name"`
	Port     uint16    `json:"port"`
	Hosts    []Host    `json:"hosts"` // one, or two joined by a link
	Programs []Program `json:"programs"`
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
// own on its host. Exactly one of Server, Client and Exec is set.
type Program struct {
	Name   string  `json:"name"`
	Host   string  `json:"host"`
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

	Expect *Expect `json:"expect,omitempty"` // nil: the step must succeed
	// Written is the expectation (for a wait, with its until) as the
	// user wrote it, in JSON, for the report.
	Written json.RawMessage `json:"written,omitempty"`
}
