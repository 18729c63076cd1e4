package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// ChannelFD is the descriptor of an agent's end of its channel to the runner:
// a SOCK_SEQPACKET pair, one JSON message a packet.
const ChannelFD = 3

// MaxMessage bounds a message in bytes.
const MaxMessage = 64 << 10

// Spec is the first message to an agent: what to be. Exactly one of Server,
// Client, Keep and Actor is set.
type Spec struct {
	Server *scenario.Server `json:"server,omitempty"`
	Client *scenario.Client `json:"client,omitempty"`
	Keep   *Keep            `json:"keep,omitempty"`
	Actor  *Actor           `json:"actor,omitempty"`
	// Record says that the runner listens on the channel.
	Record bool `json:"record,omitempty"`
}

// Keep is the part of a child that serve fork starts: it greets on the
// connection that it inherits and keeps it until the client closes.
type Keep struct {
	Index int `json:"index"`
}

// inheritedFD is the first descriptor that a forked child inherits: a kept
// connection, an actor's sockets.
const inheritedFD = 4

// Message is what an agent tells the runner.
type Message struct {
	// Syscall is a call that returned; its Start counts from
	// CLOCK_MONOTONIC's own zero.
	Syscall *journal.Syscall `json:"syscall,omitempty"`
	// Wait says that the agent does nothing until it reads a packet: the
	// runner looks at what the refused call left.
	Wait bool `json:"wait,omitempty"`
	// Child says that the agent is about to fork. The packet carries the
	// child's channel as SCM_RIGHTS: it is in the runner's hands before there
	// is a child, so that a child lives on even if its parent is killed in
	// the very act.
	Child bool `json:"child,omitempty"`
	// Name is that of the child's program, where it is not the parent's.
	Name string `json:"name,omitempty"`
	// PID is the first that a forked child says: its own, and Start when
	// that was, in CLOCK_MONOTONIC ns.
	PID   int   `json:"pid,omitempty"`
	Start int64 `json:"start,omitempty"`
	// Lab is the lab whose command this answers, 0 if the agent has only one.
	Lab int `json:"lab,omitempty"`
	// Seq is the number of the command that this answers. Done says that all its
	// calls have been made, and Error why it could not be obeyed, if so.
	Seq   int    `json:"seq,omitempty"`
	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
	// Text is all that a step's read of the socket Of has read.
	Of   string `json:"of,omitempty"`
	Text string `json:"text,omitempty"`
}

// channel is the agent's end. It may be used from several goroutines.
type channel struct {
	mu sync.Mutex
	fd int
}

// record sends the call, and after a refused bind or listen waits for the
// runner to say that it has read the table.
func (c *channel) record(s journal.Syscall) {
	c.send(Message{Syscall: &s, Wait: waits(&s)})
}

// waits reports whether the agent waits, after such a call, for the runner to
// read the socket table.
func waits(s *journal.Syscall) bool {
	return s.Failed() && (s.Name == "bind" || s.Name == "listen")
}

// send sends a message, and waits for the runner's answer if m says so.
func (c *channel) send(m Message, files ...int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.post(m, files...)
	if m.Wait {
		c.hear()
	}
}

// post sends a message. mu is held, or there is one goroutine.
func (c *channel) post(m Message, files ...int) {
	b, err := json.Marshal(m)
	if err != nil {
		c.lost(err)
	}
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	for {
		err = unix.Sendmsg(c.fd, b, rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		c.lost(err)
	}
}

// hear waits for the runner's answer.
func (c *channel) hear() {
	var ack [1]byte
	for {
		n, err := unix.Read(c.fd, ack[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || n == 0 {
			c.lost(err)
		}
		return
	}
}

// lost ends the process: a program of a lab whose calls are not recorded would
// make a report that is not true.
func (c *channel) lost(err error) {
	fmt.Fprintf(os.Stderr, "labctl agent: the channel to the lab is gone: %v\n", err)
	os.Exit(125)
}

func readSpec(fd int) (Spec, error) {
	var s Spec
	buf := make([]byte, MaxMessage)
	for {
		n, err := unix.Read(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return s, err
		}
		return s, json.Unmarshal(buf[:n], &s)
	}
}
