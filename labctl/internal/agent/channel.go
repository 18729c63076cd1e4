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
// Client and Keep is set.
type Spec struct {
	Server *scenario.Server `json:"server,omitempty"`
	Client *scenario.Client `json:"client,omitempty"`
	Keep   *Keep            `json:"keep,omitempty"`
	// Record says that the runner listens on the channel.
	Record bool `json:"record,omitempty"`
}

// Keep is the part of a child that serve fork starts: it greets on the
// connection ConnFD and keeps it until the client closes.
type Keep struct {
	Index int `json:"index"`
}

// connFD is the descriptor of a kept connection in the child.
const connFD = 4

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
	// PID is the first that a forked child says: its own, and Start when
	// that was, in CLOCK_MONOTONIC ns.
	PID   int   `json:"pid,omitempty"`
	Start int64 `json:"start,omitempty"`
}

// channel is the agent's end. It may be used from several goroutines.
type channel struct {
	mu sync.Mutex
	fd int
}

// record sends the call, and after a refused bind or listen waits for the
// runner to say that it has read the table.
func (c *channel) record(s journal.Syscall) {
	refused := s.Failed() && (s.Name == "bind" || s.Name == "listen")
	c.send(Message{Syscall: &s, Wait: refused})
}

func (c *channel) send(m Message, files ...int) {
	b, err := json.Marshal(m)
	if err != nil {
		c.lost(err)
	}
	var rights []byte
	if len(files) > 0 {
		rights = unix.UnixRights(files...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		err = unix.Sendmsg(c.fd, b, rights, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		c.lost(err)
	}
	if !m.Wait {
		return
	}
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
