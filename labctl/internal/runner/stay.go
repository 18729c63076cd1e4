package runner

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/live"
)

// openDoor takes over the control socket.
func openDoor(fd int) (*net.UnixListener, error) {
	file := os.NewFile(uintptr(fd), live.SocketName)
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take over the control socket: %w", err)
	}
	door, ok := l.(*net.UnixListener)
	if !ok {
		return nil, errors.New("take over the control socket: it is no Unix socket")
	}
	door.SetUnlinkOnClose(false) // its name is the outside's
	return door, nil
}

// stay keeps the lab up until it is told to end, does what comes in by the door,
// and journals the socket tables when they have changed.
func (l *lab) stay() (journal.Verdict, error) {
	go l.answer()
	defer l.door.Close()
	shown := map[string]string{}
	for {
		again, err := l.lookAround(shown)
		if err != nil {
			return journal.Error, err
		}
		timer := time.NewTimer(again)
		select {
		case <-l.ctx.Done():
			timer.Stop()
			return journal.Pass, nil
		case <-l.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// lookAround journals what has happened since: segments, state changes, and the
// tables that are not as shown. It returns when to look again: what programs do
// that were started by hand is announced by nobody.
func (l *lab) lookAround(shown map[string]string) (again time.Duration, err error) {
	l.flush()
	if err := l.lookAtTables(shown); err != nil {
		return 0, err
	}
	if err := l.inferStates(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runsUnrecorded() {
		return usual, nil
	}
	return seldom, nil
}

// lookAtTables journals the state changes up to now and the tables that are not as
// shown.
func (l *lab) lookAtTables(shown map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.flushTraces(); err != nil {
		return err
	}
	for _, h := range l.plan.Hosts {
		rows, err := l.diag[h.Name].Table(0)
		now := signature(rows)
		if err == nil && shown[h.Name] == now {
			continue
		}
		shown[h.Name] = now
		l.emitTable(h.Name, &journal.Sockets{Reason: "live", Rows: rows}, err)
		if err != nil {
			return fmt.Errorf("read the socket table of host %s: %w", h.Name, err)
		}
	}
	return nil
}

// answer serves everybody who comes in by the door, until it is closed.
func (l *lab) answer() {
	for {
		c, err := l.door.AcceptUnix()
		if err != nil {
			return
		}
		go l.serve(c)
	}
}

// serve does what one visitor asks for.
func (l *lab) serve(c *net.UnixConn) {
	defer c.Close()
	conn, fds, err := live.Accept(c)
	if err != nil {
		return // gone before it said anything
	}
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for {
		var r live.Request
		if conn.Receive(&r) != nil {
			return
		}
		var reply live.Reply
		switch {
		case r.Exec != nil:
			theirs := fds
			fds = nil
			l.exec(conn, r.Exec, theirs)
			return
		case r.Status:
			reply.Status = l.status()
		case r.Table != "":
			reply = l.tableOf(r.Table)
		case r.Down:
			conn.Send(live.Reply{Down: true})
			l.end()
			return
		default:
			reply.Error = "this lab does not know what is asked of it: it was started by another version of labctl"
		}
		if conn.Send(reply) != nil {
			return
		}
	}
}

func (l *lab) status() *live.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := func(t int64) time.Time { return time.Unix(0, l.zero+t).UTC() }
	s := &live.Status{Name: l.plan.Name, Port: l.plan.Port, Since: at(l.born), Programs: []live.Program{}}
	for _, h := range l.plan.Hosts {
		host := live.Host{Name: h.Name, Addresses: l.network.Host(h.Name).Addresses(), States: map[string]int{}}
		if !l.closing {
			rows, _ := l.diag[h.Name].Table(0) // what cannot be read is not counted
			for _, r := range rows {
				host.States[r.State]++
			}
		}
		s.Hosts = append(s.Hosts, host)
	}
	for _, p := range l.processes {
		if !p.exited {
			s.Programs = append(s.Programs, live.Program{Host: p.spec.Host, PID: p.pid, Argv: p.spec.Exec.Argv, Since: at(p.hand.began)})
		}
	}
	return s
}

// known reports whether the lab has a host of that name; else the reply says what
// it has.
func (l *lab) known(host string) (reply live.Reply, ok bool) {
	var names []string
	for _, h := range l.plan.Hosts {
		names = append(names, h.Name)
	}
	if slices.Contains(names, host) {
		return reply, true
	}
	reply.Error = fmt.Sprintf("lab %s has no host %q: its hosts are %s", l.plan.Name, host, strings.Join(names, " and "))
	return reply, false
}

func (l *lab) tableOf(host string) live.Reply {
	reply, ok := l.known(host)
	if !ok {
		return reply
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return live.Reply{Error: "the lab is going down"}
	}
	rows, err := l.diag[host].Table(0)
	reply.Table = &live.Table{Rows: rows, Unlisted: l.diag[host].Unlisted()}
	if err != nil {
		reply.Table.Error = err.Error()
	}
	return reply
}
