package kernel

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// qmp speaks QEMU's machine protocol (qemu-qmp-ref(7)) over a pair of pipes.
type qmp struct {
	out    io.Writer
	mu     sync.Mutex // one command at a time
	said   chan reply
	events chan string // their names, with their status if they have one; closed at the end
}

type reply struct {
	Return json.RawMessage
	Error  *struct{ Desc string }
}

// mostEvents is more than a machine of ours has in its life.
const mostEvents = 256

// greet reads QEMU's first words and begins. The version is what it says of itself.
func greet(out io.Writer, in io.Reader) (q *qmp, version string, err error) {
	lines := json.NewDecoder(bufio.NewReader(in))
	var greeting struct {
		QMP *struct {
			Version struct {
				Qemu    struct{ Major, Minor, Micro int }
				Package string
			}
		}
	}
	if err := lines.Decode(&greeting); err != nil {
		return nil, "", err
	}
	if greeting.QMP == nil {
		return nil, "", fmt.Errorf("QEMU did not greet as QMP does")
	}
	v := greeting.QMP.Version
	version = fmt.Sprintf("%d.%d.%d %s", v.Qemu.Major, v.Qemu.Minor, v.Qemu.Micro, v.Package)
	q = &qmp{out: out, said: make(chan reply, 1), events: make(chan string, mostEvents)}
	go q.listen(lines)
	_, err = q.do("qmp_capabilities", nil)
	return q, version, err
}

func (q *qmp) listen(lines *json.Decoder) {
	defer close(q.events)
	defer close(q.said)
	for {
		var m struct {
			Event  string
			Data   struct{ Status string }
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		if lines.Decode(&m) != nil {
			return // QEMU is gone: how, its exit tells
		}
		if m.Event == "" {
			q.said <- reply{m.Return, m.Error}
			continue
		}
		if m.Data.Status != "" {
			m.Event += " " + m.Data.Status
		}
		select {
		case q.events <- m.Event:
		default: // nobody waits for so many
		}
	}
}

// do runs a command.
func (q *qmp) do(command string, arguments map[string]any) (json.RawMessage, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	line, err := json.Marshal(struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return nil, err
	}
	if _, err := q.out.Write(append(line, '\n')); err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	r, ok := <-q.said
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: %w", command, io.ErrUnexpectedEOF)
	case r.Error != nil:
		return nil, fmt.Errorf("%s: %s", command, r.Error.Desc)
	}
	return r.Return, nil
}

// await returns when one of the events has come, and says which; false when there
// will be none.
func (q *qmp) await(names ...string) (string, bool) {
	for e := range q.events {
		for _, n := range names {
			if e == n {
				return e, true
			}
		}
	}
	return "", false
}
