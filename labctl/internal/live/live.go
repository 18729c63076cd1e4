// Package live is how one gets into a lab that stays up: the control socket in
// its report folder, what is said over it, and the half of it that is outside: the
// one that starts a program in the lab and is its terminal (docker exec -it).
//
// It may assume Linux. It promises that only the lab's owner and root get in (the
// socket's mode is 0600 before it has a name), that the terminal is put back as it
// was, and that a program's bytes go straight between it and its user: the lab gets
// a copy for its journal.
package live

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
)

// Request is one line to the lab. The first one of a connection says what it is
// for; one byte before it carries the descriptors of an Exec.
type Request struct {
	Exec   *Exec  `json:"exec,omitempty"`
	Status bool   `json:"status,omitempty"`
	Table  string `json:"table,omitempty"` // the socket table of this host; may be asked again and again
	Down   bool   `json:"down,omitempty"`  // end the lab

	// After an Exec:
	Signal string `json:"signal,omitempty"` // for the program and its process group
	Shown  *Shown `json:"shown,omitempty"`
}

// Exec starts a program on a host. Its descriptors are 0, 1 and 2.
type Exec struct {
	Host string   `json:"host"`
	Argv []string `json:"argv"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	// Terminal says that descriptor 0 is a terminal for the program alone.
	Terminal bool `json:"terminal"`
}

// Shown is what the program has printed: a copy.
type Shown struct {
	Stream string `json:"stream"` // "stdout", "stderr" or "terminal"
	Data   []byte `json:"data"`
	// Columns is how wide the terminal is.
	Columns int `json:"columns,omitempty"`
}

// Reply is one line from the lab.
type Reply struct {
	Error  string  `json:"error,omitempty"` // why nothing was done
	PID    int     `json:"pid,omitempty"`   // exec: it runs, as this process of the lab
	Exited *Exited `json:"exited,omitempty"`
	Status *Status `json:"status,omitempty"`
	Table  *Table  `json:"table,omitempty"`
	Down   bool    `json:"down,omitempty"` // the lab ends now
}

// Exited is how a program ended.
type Exited struct {
	Code   int    `json:"code"`
	Signal string `json:"signal,omitempty"` // the one that ended it, "SIGINT"
}

// Status is what a lab says of itself.
type Status struct {
	Name     string    `json:"name"`
	Since    time.Time `json:"since"`
	Port     uint16    `json:"port"`
	Hosts    []Host    `json:"hosts"`
	Programs []Program `json:"programs"` // those that run
}

// Host is a host of the lab, with its sockets by state.
type Host struct {
	Name      string         `json:"name"`
	Addresses []netip.Prefix `json:"addresses"`
	States    map[string]int `json:"states"`
}

// Program is one that was started by hand and runs.
type Program struct {
	Host  string    `json:"host"`
	PID   int       `json:"pid"`
	Argv  []string  `json:"argv"`
	Since time.Time `json:"since"`
}

// Table is a host's socket table.
type Table struct {
	Rows     []journal.Socket `json:"rows"`
	Unlisted []string         `json:"unlisted,omitempty"`
	Error    string           `json:"error,omitempty"`
}

// Conn is an end of a connection to a lab. One goroutine may read while another
// writes.
type Conn struct {
	conn *net.UnixConn
	enc  *json.Encoder
	dec  *json.Decoder
}

func newConn(c *net.UnixConn) *Conn {
	return &Conn{conn: c, enc: json.NewEncoder(c), dec: json.NewDecoder(c)}
}

// Accept reads the byte that a connection begins with and the descriptors with it,
// which are the caller's to close.
func Accept(c *net.UnixConn) (*Conn, []int, error) {
	one, oob := make([]byte, 1), make([]byte, unix.CmsgSpace(4*descriptors))
	_, n, _, _, err := c.ReadMsgUnix(one, oob)
	if err != nil {
		return nil, nil, fmt.Errorf("read from the control socket: %w", err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return nil, nil, fmt.Errorf("read from the control socket: %w", err)
	}
	var fds []int
	for _, m := range messages {
		if more, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, more...)
		}
	}
	return newConn(c), fds, nil
}

// descriptors is how many a program gets.
const descriptors = 3

// Send writes a request or a reply.
func (c *Conn) Send(message any) error { return c.enc.Encode(message) }

// Receive reads one into message.
func (c *Conn) Receive(message any) error { return c.dec.Decode(message) }

// Close ends the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// Ask sends a request and reads its reply, whose Error becomes an error.
func (c *Conn) Ask(r Request) (Reply, error) {
	var reply Reply
	if err := c.Send(r); err != nil {
		return reply, gone(err)
	}
	if err := c.Receive(&reply); err != nil {
		return reply, gone(err)
	}
	if reply.Error != "" {
		return reply, &Refused{reply.Error}
	}
	return reply, nil
}

// Refused is what the lab would not do.
type Refused struct{ Why string }

func (r *Refused) Error() string { return r.Why }

// ErrGone says that the lab has ended under one's hands.
var ErrGone = errors.New("the lab is gone")

func gone(err error) error {
	if err == io.EOF {
		return ErrGone
	}
	return fmt.Errorf("%w (%w)", ErrGone, err)
}

// Table asks for a host's sockets, all ports: port is left to the reader.
func (h *HostTable) Table(uint16) ([]journal.Socket, error) {
	reply, err := h.conn.Ask(Request{Table: h.host})
	if err != nil {
		return nil, err
	}
	h.unlisted = reply.Table.Unlisted
	if reply.Table.Error != "" {
		err = errors.New(reply.Table.Error)
	}
	return reply.Table.Rows, err
}

// HostTable is the socket table of a host of a lab, to be read again and again.
type HostTable struct {
	conn     *Conn
	host     string
	unlisted []string
}

// Tables reads the tables of a host by this connection, which is then for that
// alone.
func (c *Conn) Tables(host string) *HostTable { return &HostTable{conn: c, host: host} }

// Unlisted names the states that the kernel cannot list.
func (h *HostTable) Unlisted() []string { return h.unlisted }

// Down asks the lab to end.
func (c *Conn) Down() error {
	_, err := c.Ask(Request{Down: true})
	return err
}

// hello begins a connection, with the descriptors if there are any.
func (c *Conn) hello(files ...*os.File) error {
	var oob []byte
	if len(files) > 0 {
		var fds []int
		for _, f := range files {
			fds = append(fds, int(f.Fd()))
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err := c.conn.WriteMsgUnix([]byte{'L'}, oob, nil)
	return err
}

// Limit bounds the time that is waited for the other side from now on.
func (c *Conn) Limit(d time.Duration) { c.conn.SetDeadline(time.Now().Add(d)) }
