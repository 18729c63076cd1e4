package runner

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// onSockets are the verbs that act on the scenario's sockets.
var onSockets = map[string]func(*lab, *scenario.Step) (journal.Observed, error){}

func init() {
	for verb := range callOf {
		onSockets[verb] = (*lab).calls
	}
	onSockets[scenario.VerbInherit] = (*lab).inherit
	onSockets[scenario.VerbPass] = (*lab).pass
	onSockets[scenario.VerbDestroy] = (*lab).destroy
	onSockets[scenario.VerbHold] = (*lab).hold
	onSockets[scenario.VerbDrop] = (*lab).drop
}

// callOf is the system call that a verb makes, one on each socket.
var callOf = map[string]string{
	scenario.VerbBind:       "bind",
	scenario.VerbListen:     "listen",
	scenario.VerbConnect:    "connect",
	scenario.VerbAccept:     "accept",
	scenario.VerbSend:       "write",
	scenario.VerbRecv:       "read",
	scenario.VerbShutdown:   "shutdown",
	scenario.VerbClose:      "close",
	scenario.VerbSetsockopt: "setsockopt",
}

// acts reports whether a program makes the calls of steps, and nothing by itself.
func acts(spec *scenario.Program) bool {
	return spec.Server == nil && spec.Client == nil && spec.Exec == nil
}

// acting is the part of a process that is an actor. The lab's mutex guards it.
type acting struct {
	crew   *crew // the process is shared with other labs; nil: it is the lab's own
	number int   // of the lab, at a shared actor
	seq    int   // of the last command
	done   bool  // it is obeyed
	err    string
	calls  []journal.Syscall // that it has made so far
	texts  map[string]string // what its reads read, by socket
}

// answer takes what an actor says of a command. What it says of an earlier one, whose
// step is over, is in the journal alone.
func (a *acting) answer(m agent.Message) {
	if m.Seq != a.seq {
		return
	}
	switch {
	case m.Syscall != nil:
		a.calls = append(a.calls, *m.Syscall)
	case m.Done:
		a.done, a.err = true, m.Error
	case m.Of != "":
		if a.texts == nil {
			a.texts = map[string]string{}
		}
		a.texts[m.Of] = m.Text
	}
}

// wire is the descriptor of the channel to the process.
func (p *process) wire() int {
	if p.part.crew != nil {
		return p.part.crew.channel
	}
	return p.channel
}

func (l *lab) socket(name string) *scenario.Socket {
	for i := range l.plan.Sockets {
		if l.plan.Sockets[i].Name == name {
			return &l.plan.Sockets[i]
		}
	}
	return nil
}

// datagrams reports whether a socket, named as in a call's record, is one of UDP.
func (l *lab) datagrams(of string) bool {
	name, _, _ := strings.Cut(of, " ")
	s := l.socket(name)
	return s != nil && (s.Kind == scenario.UDP4 || s.Kind == scenario.UDP6)
}

// actor is the process that makes the calls on a socket. It is started if there
// is none, or if the one there was has ended and the socket with it.
func (l *lab) actor(s *scenario.Socket) (*process, error) {
	if p := l.holder(s.Name); p != nil || s.Made {
		return p, nil
	}
	name := s.Program
	if name == "" {
		name = s.Name
	}
	p, err := l.performer(name, s.Host, s.UID)
	if err != nil {
		return nil, err
	}
	l.owns(s.Name, p)
	return p, nil
}

// owns notes who makes the calls on a socket from now on.
func (l *lab) owns(socket string, p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[socket] = p
}

// performer is the process of a program that acts, started if it does not run.
func (l *lab) performer(name, host string, uid *uint32) (*process, error) {
	if p := l.running(name); p != nil {
		return p, nil
	}
	spec := l.program(name)
	if spec == nil {
		spec = &scenario.Program{Name: name, Host: host, UID: uid}
	}
	if l.binds {
		return l.join(spec)
	}
	return l.launch(spec)
}

// command has the actor make the calls of c and waits until they are made, up to
// the deadline on the journal's clock. The error is errDeadline, or says what went
// wrong beside what the kernel answered: that is in the process's part.
func (l *lab) command(p *process, c agent.Command, deadline int64, files ...int) error {
	l.mu.Lock()
	part := &p.part
	part.seq++
	part.done, part.err, part.calls, part.texts = false, "", nil, nil
	c.Seq, c.Lab = part.seq, part.number
	wire := p.wire()
	l.mu.Unlock()
	sent := c.Send(wire, files...) // it fails when the process is gone
	err := l.await(l.ctx, deadline, func() (bool, time.Duration) { return part.done || p.exited || sent != nil, 0 })
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case part.done && part.err == "":
		return nil
	case part.done:
		return errors.New(part.err)
	case p.exited || sent != nil:
		return fmt.Errorf("%s of %s: %s", c.Verb, c.Socket, p.end())
	}
	return err
}

// calls plays a verb that makes one system call on each socket of a name.
func (l *lab) calls(s *scenario.Step) (journal.Observed, error) {
	socket := l.socket(s.Socket)
	p, err := l.actor(socket)
	if err != nil {
		return journal.Observed{}, err
	}
	if p == nil {
		return journal.Observed{Failure: noSocket(socket)}, nil
	}
	seen, err := l.plays(p, l.commandOf(s, socket), l.began[s.ID]+int64(s.Within), callOf[s.Verb])
	if s.Verb == scenario.VerbAccept {
		l.owns(s.As, p)
	}
	switch {
	case err == errDeadline:
		seen.Failure = fmt.Sprintf("%s on %s did not return within %s", callOf[s.Verb], s.Socket, s.Within)
	case err != nil:
		seen.Failure = err.Error()
	case s.Nonblock && s.Verb == scenario.VerbConnect && seen.Result == "EINPROGRESS":
		seen.Failure = "" // it was asked not to wait
	}
	return seen, nil
}

// plays has the actor make the calls of c, whose own call has that name, and puts
// what the kernel answered into the words of expectations. The error is command's.
func (l *lab) plays(p *process, c agent.Command, deadline int64, call string, files ...int) (journal.Observed, error) {
	if l.binds && c.Kind != "" {
		files = append(files, l.network.Host(p.spec.Host).NS())
	}
	err := l.command(p, c, deadline, files...)
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := results(&p.part, call, p.spec.Host, names(c))
	seen.Holders, p.holders = p.holders, nil
	return seen, err
}

// commandOf is the command of a step on a socket.
func (l *lab) commandOf(s *scenario.Step, socket *scenario.Socket) agent.Command {
	c := agent.Command{Verb: s.Verb, Socket: socket.Name, Count: socket.Count,
		Address: netip.AddrPortFrom(s.Address, s.Port), Backlog: s.Backlog, Nonblock: s.Nonblock,
		As: s.As, Text: s.Text, How: s.How, Options: l.onHost(s.Options, socket.Host)}
	if !s.Address.IsValid() {
		c.Address = netip.AddrPort{}
	}
	if s.Verb == scenario.VerbAccept {
		c.Calls = s.Count
	}
	if !socket.Made {
		c.Kind, c.Set = socket.Kind, l.onHost(socket.Options, socket.Host)
	}
	return c
}

// onHost are options with the host's interface in place of the word for it.
func (l *lab) onHost(options []scenario.Option, host string) []scenario.Option {
	var own []scenario.Option
	for _, o := range options {
		if o.Text == "link" && o.Level == unix.SOL_SOCKET && o.Opt == unix.SO_BINDTODEVICE {
			o.Text = l.network.Host(host).Interface()
		}
		own = append(own, o)
	}
	return own
}

// names are those of the sockets that the calls of a command are recorded for.
func names(c agent.Command) []string {
	name, count := c.Socket, max(c.Count, 1)
	if c.Verb == scenario.VerbAccept {
		name, count = c.As, count*max(c.Calls, 1)
	}
	var list []string
	for i := 1; i <= count; i++ {
		list = append(list, agent.Nth(name, i, count))
	}
	return list
}

// results puts the calls of a command into the words of expectations. The result of
// a socket is that of its last call, which is one that came before the verb's own if
// that was refused.
func results(part *acting, name, host string, sockets []string) (seen journal.Observed) {
	last := map[string]*journal.Syscall{}
	for i := range part.calls {
		last[part.calls[i].Of] = &part.calls[i]
	}
	tally := map[string]int{}
	var texts []string
	var ports []int
	for _, of := range sockets {
		c := last[of]
		if c == nil {
			continue // not reached
		}
		result := "ok"
		if c.Failed() {
			result = c.Errno
		}
		tally[result]++
		if seen.Result == "" || seen.Result == "ok" && result != "ok" {
			seen.Result = result
			if c.Failed() {
				seen.Failure = refused(c, of, host)
			}
		}
		if name == "read" {
			texts = append(texts, part.texts[of])
		}
		if (name == "bind" || name == "connect") && c.Socket != nil {
			ports = append(ports, int(c.Socket.Local.Port()))
		}
	}
	if len(sockets) > 1 {
		seen.Results = tally
	}
	if len(texts) > 0 {
		seen.Text = odd(texts)
	}
	if len(ports) > 0 {
		port := odd(ports)
		seen.Port = &port
	}
	return seen
}

// odd is the first that is not like the first, or the first.
func odd[T comparable](all []T) T {
	for _, v := range all {
		if v != all[0] {
			return v
		}
	}
	return all[0]
}

// refused says in words what the kernel refused.
func refused(c *journal.Syscall, socket, host string) string {
	what := c.Name
	if c.Args.Option != "" {
		what += " " + c.Args.Option
	}
	switch at := c.Args.Address; {
	case at.IsValid():
		what += " " + at.String()
	case c.Name == "listen" && c.Socket != nil && c.Socket.Local.IsValid():
		what += " on " + c.Socket.Local.String()
	}
	return fmt.Sprintf("%s by %s on %s: %s (%d)", what, socket, host, c.Errno, c.Number)
}

// inherit forks a child of the socket's program, which keeps copies of the sockets.
func (l *lab) inherit(s *scenario.Step) (journal.Observed, error) {
	socket := l.socket(s.Socket)
	p := l.holder(s.Socket)
	if p == nil {
		return journal.Observed{Failure: noSocket(socket)}, nil
	}
	if old := l.running(s.To); old != nil {
		return journal.Observed{Failure: fmt.Sprintf("%s already runs, as process %d", s.To, old.pid)}, nil
	}
	deadline := l.began[s.ID] + int64(s.Within)
	err := l.command(p, agent.Command{Verb: s.Verb, Socket: socket.Name, Count: socket.Count, As: s.As, To: s.To}, deadline)
	if err != nil {
		return journal.Observed{Failure: late(err, s)}, nil
	}
	var child *process
	err = l.await(l.ctx, deadline, func() (bool, time.Duration) {
		child = l.find(s.To)
		return child != nil && !child.exited, 0
	})
	if err == errDeadline {
		return journal.Observed{Failure: fmt.Sprintf("the child %s did not start within %s", s.To, s.Within)}, nil
	}
	if err != nil {
		return journal.Observed{}, nil // cancelled
	}
	l.owns(s.As, child)
	return journal.Observed{Result: "ok"}, nil
}

// holder is who makes the calls on a socket, nil if there is none: it was never
// made, or its process has ended.
func (l *lab) holder(socket string) *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.open[socket]; p != nil && !p.exited {
		return p
	}
	return nil
}

func noSocket(s *scenario.Socket) string {
	return s.Name + " is not there: it was never made, or its process has ended"
}

// running is the process of a program, nil if none runs.
func (l *lab) running(program string) *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.find(program); p != nil && !p.exited {
		return p
	}
	return nil
}

// pass hands copies of sockets to another program, over a pair of Unix sockets of
// which each has one end.
func (l *lab) pass(s *scenario.Step) (journal.Observed, error) {
	socket := l.socket(s.Socket)
	from := l.holder(s.Socket)
	if from == nil {
		return journal.Observed{Failure: noSocket(socket)}, nil
	}
	to, err := l.performer(s.To, socket.Host, nil)
	if err != nil {
		return journal.Observed{}, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return journal.Observed{}, fmt.Errorf("make a pair of sockets to pass %s over: %w", s.Socket, err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	deadline := l.began[s.ID] + int64(s.Within)
	for i := 1; i <= max(socket.Count, 1); i++ { // one by one: the pair holds only so many
		name, as := agent.Nth(socket.Name, i, socket.Count), agent.Nth(s.As, i, socket.Count)
		for _, half := range []struct {
			p    *process
			c    agent.Command
			call string
			end  int
		}{
			{from, agent.Command{Verb: scenario.VerbPass, Socket: name}, "sendmsg", pair[0]},
			{to, agent.Command{Verb: agent.VerbReceive, Socket: as}, "recvmsg", pair[1]},
		} {
			seen, err := l.plays(half.p, half.c, deadline, half.call, half.end)
			if err != nil {
				seen.Failure = late(err, s)
			}
			if seen.Failure != "" {
				return seen, nil
			}
		}
	}
	l.owns(s.As, to)
	return journal.Observed{Result: "ok"}, nil
}

// late says in words why a step's command was not obeyed.
func late(err error, s *scenario.Step) string {
	if err == errDeadline {
		return fmt.Sprintf("%s of %s was not done within %s", s.Verb, s.Socket, s.Within)
	}
	return err.Error()
}
