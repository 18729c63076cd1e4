package agent

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
)

// Actor is the part of a process that makes the calls of a scenario's steps: it
// obeys commands, one packet each, until its channel ends.
type Actor struct {
	// Inherited names the sockets that a forked child begins with.
	Inherited []string `json:"inherited,omitempty"`
	// Shared says that it makes the calls of many labs, each in its own network
	// namespace. It enters that for socket() alone, which decides for good where a
	// socket belongs.
	Shared bool `json:"shared,omitempty"`
}

// VerbReceive is the other half of scenario.VerbPass, and VerbEnd the end of a
// lab of a shared actor, which lets go of all its sockets. No step has them.
const (
	VerbReceive = "receive"
	VerbEnd     = "end"
)

// Command is what the runner tells an actor to do: a verb of the language on a
// socket, or on each of several alike, one real system call each. A socket that
// is not there yet is made first. A packet of one byte is no command, but lets
// the actor go on after a refused call.
type Command struct {
	Seq  int    `json:"seq"`
	Lab  int    `json:"lab,omitempty"` // of a shared actor: whose socket it is
	Verb string `json:"verb"`
	// Socket is the name, Count how many sockets it stands for.
	Socket string `json:"socket,omitempty"`
	Count  int    `json:"count,omitempty"`
	// Kind and Set make a socket. Without Kind there must be one: the kernel is
	// asked about descriptor -1 otherwise. The packet of a shared actor's command
	// that has a Kind carries the network namespace.
	Kind string            `json:"kind,omitempty"`
	Set  []scenario.Option `json:"set,omitempty"`

	Address  netip.AddrPort    `json:"address,omitzero"`
	Backlog  int               `json:"backlog,omitempty"`
	Nonblock bool              `json:"nonblock,omitempty"`
	As       string            `json:"as,omitempty"`
	Calls    int               `json:"calls,omitempty"` // accept: on each socket
	Text     string            `json:"text,omitempty"`
	How      string            `json:"how,omitempty"`
	Options  []scenario.Option `json:"options,omitempty"`
	To       string            `json:"to,omitempty"` // inherit: the child's program

	files []int // that came with the packet
}

// Nth is what the i-th, from 1, of count sockets of that name is called.
func Nth(name string, i, count int) string {
	if count <= 1 {
		return name
	}
	return name + " " + strconv.Itoa(i)
}

// Send sends an actor a command, and descriptors with it.
func (c Command) Send(fd int, files ...int) error {
	b, err := json.Marshal(c)
	if err != nil {
		return err
	}
	var control []byte
	if len(files) > 0 {
		control = unix.UnixRights(files...)
	}
	for {
		switch err := unix.Sendmsg(fd, b, control, nil, unix.MSG_NOSIGNAL); err {
		case unix.EINTR:
		case unix.EAGAIN: // it has much to do
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		default:
			return err
		}
	}
}

// actor obeys commands. One goroutine reads and obeys them, in their order; a
// call that may wait for others is made on one of its own, so that the actor
// still obeys.
type actor struct {
	*program
	shared bool
	home   int // a shared actor's own network namespace
	queue  []Command
	packet [MaxMessage]byte

	mu      sync.Mutex
	sockets map[key]int // descriptors
}

type key struct {
	lab  int
	name string
}

func act(p *program, what *Actor) int {
	if p.lab == nil {
		return 2
	}
	a := &actor{program: p, shared: what.Shared, sockets: map[key]int{}}
	for i, name := range what.Inherited {
		unix.CloseOnExec(inheritedFD + i)
		a.sockets[key{0, name}] = inheritedFD + i
	}
	if len(what.Inherited) > 0 {
		p.born()
	}
	if a.shared {
		runtime.LockOSThread() // it goes in and out of namespaces
		fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			a.say("labctl agent: open its own network namespace: %v", err)
			return 1
		}
		a.home = fd
	}
	for {
		var c Command
		if len(a.queue) > 0 {
			c, a.queue = a.queue[0], a.queue[1:]
		} else {
			var over bool
			if c, _, over = a.next(); over {
				return 0
			}
		}
		if c.waits() && !a.shared {
			go a.obey(c)
		} else {
			a.obey(c)
		}
	}
}

// next reads a packet: a command, or the word to go on. over says that the runner
// has let go of the actor.
func (a *actor) next() (c Command, goOn, over bool) {
	buf, control := a.packet[:], make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(a.lab.fd, buf, control, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			a.lab.lost(err)
		case n == 0:
			return c, false, true
		case n == 1:
			return c, true, false
		}
		if err := json.Unmarshal(buf[:n], &c); err != nil {
			a.lab.lost(fmt.Errorf("a command cannot be read: %w", err))
		}
		if oobn > 0 {
			if c.files, err = rights(control[:oobn]); err != nil {
				a.lab.lost(fmt.Errorf("the descriptors of a command cannot be read: %w", err))
			}
		}
		return c, false, false
	}
}

// waits reports whether a call of the command may wait for what others do.
func (c *Command) waits() bool {
	switch c.Verb {
	case scenario.VerbAccept, scenario.VerbConnect, scenario.VerbRecv, scenario.VerbSend, scenario.VerbClose:
		return !c.Nonblock
	}
	return false
}

// note records the calls of a command.
type note struct {
	*actor
	lab, seq int
}

// record sends the call, and after a refused bind or listen waits until the
// runner has read the table. Other commands that come meanwhile wait too.
func (n *note) record(s journal.Syscall) {
	refused := waits(&s)
	n.post(Message{Syscall: &s, Wait: refused, Lab: n.lab, Seq: n.seq})
	for refused {
		c, goOn, over := n.next()
		switch {
		case over:
			n.actor.lab.lost(nil)
		case goOn:
			return
		}
		n.queue = append(n.queue, c)
	}
}

func (a *actor) post(m Message, files ...int) {
	a.lab.mu.Lock()
	defer a.lab.mu.Unlock()
	a.lab.post(m, files...)
}

// obey makes the calls of a command and says when they are made.
func (a *actor) obey(c Command) {
	done := Message{Lab: c.Lab, Seq: c.Seq, Done: true}
	if c.Verb == VerbEnd {
		a.let(c.Lab)
	} else if err := a.each(c); err != nil {
		done.Error = err.Error()
	}
	for _, fd := range c.files {
		unix.Close(fd)
	}
	a.post(done)
}

// let closes the sockets of a lab, as the end of its process would.
func (a *actor) let(lab int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, fd := range a.sockets {
		if k.lab == lab {
			unix.Close(fd)
			delete(a.sockets, k)
		}
	}
}

// each makes the command's calls on each of its sockets.
func (a *actor) each(c Command) error {
	if c.Verb == scenario.VerbInherit {
		return a.bear(c)
	}
	for i := 1; i <= max(c.Count, 1); i++ {
		name := Nth(c.Socket, i, c.Count)
		calls := calls{rec: &note{a, c.Lab, c.Seq}, of: name}
		if c.Verb == VerbReceive {
			if fd, err := calls.receive(c.files[0]); err == nil {
				a.keep(c.Lab, name, fd)
			}
			continue
		}
		fd, ok := a.find(c.Lab, name)
		if !ok && c.Kind != "" {
			var err error
			if fd, err = a.make(calls, c); err != nil {
				if fd >= 0 { // an option was refused: the step's own call is not made
					unix.Close(fd)
				}
				continue
			}
			a.keep(c.Lab, name, fd)
		}
		if c.Verb == scenario.VerbAccept {
			a.accept(c, calls, i, fd)
			continue
		}
		text, err := a.call(c, calls, fd)
		if err != nil {
			return err
		}
		if c.Verb == scenario.VerbRecv {
			a.post(Message{Lab: c.Lab, Seq: c.Seq, Of: name, Text: text})
		}
		if c.Verb == scenario.VerbClose {
			a.mu.Lock()
			delete(a.sockets, key{c.Lab, name})
			a.mu.Unlock()
		}
	}
	return nil
}

func (a *actor) find(lab int, name string) (fd int, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if fd, ok = a.sockets[key{lab, name}]; !ok {
		fd = -1
	}
	return fd, ok
}

func (a *actor) keep(lab int, name string, fd int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sockets[key{lab, name}] = fd
}

// make makes a socket and sets its options.
func (a *actor) make(calls calls, c Command) (fd int, err error) {
	if a.shared {
		if len(c.files) != 1 {
			a.lab.lost(fmt.Errorf("a command came with %d network namespaces", len(c.files)))
		}
		if err := unix.Setns(c.files[0], unix.CLONE_NEWNET); err != nil {
			a.lab.lost(fmt.Errorf("enter a lab's network namespace: %w", err))
		}
		// A thread that stayed would keep the namespace of a lab that is over.
		defer func() {
			if err := unix.Setns(a.home, unix.CLONE_NEWNET); err != nil {
				a.lab.lost(fmt.Errorf("return from a lab's network namespace: %w", err))
			}
		}()
	}
	if fd, err = calls.socketOf(c.Kind); err != nil {
		return -1, err
	}
	for _, o := range c.Set {
		if err := calls.option(fd, o); err != nil {
			return fd, err
		}
	}
	return fd, nil
}

// accept accepts connections of the i-th socket.
func (a *actor) accept(c Command, calls calls, i, listener int) {
	all := max(c.Calls, 1) * max(c.Count, 1)
	for j := range max(c.Calls, 1) {
		name := Nth(c.As, (i-1)*max(c.Calls, 1)+j+1, all)
		calls.of = name
		err := nonblocking(listener, c.Nonblock, func() error {
			fd, err := calls.accept(listener)
			if err == nil {
				a.keep(c.Lab, name, fd)
			}
			return err
		})
		if err != nil {
			return // the rest would fare no better, or wait as long
		}
	}
}

// longestText is how much one recv reads at the most.
const longestText = 4096

// call makes the verb's one call on a socket. What the kernel answers stands in
// the record; the error is that of a command that cannot be obeyed.
func (a *actor) call(c Command, calls calls, fd int) (text string, err error) {
	switch c.Verb {
	case scenario.VerbBind:
		calls.bind(fd, c.Address)
	case scenario.VerbListen:
		calls.listen(fd, c.Backlog)
	case scenario.VerbConnect:
		nonblocking(fd, c.Nonblock, func() error { return calls.connect(fd, c.Address) })
	case scenario.VerbSend:
		calls.write(fd, []byte(c.Text))
	case scenario.VerbRecv:
		buf := make([]byte, longestText)
		n := 0
		nonblocking(fd, c.Nonblock, func() (err error) {
			n, err = calls.read(fd, buf)
			return err
		})
		text = strings.ToValidUTF8(string(buf[:n]), "\uFFFD")
	case scenario.VerbShutdown:
		calls.shutdown(fd, c.How)
	case scenario.VerbClose:
		calls.close(fd)
	case scenario.VerbSetsockopt:
		for _, o := range c.Options {
			if calls.option(fd, o) != nil {
				break
			}
		}
	case scenario.VerbPass:
		calls.pass(c.files[0], fd)
	default:
		return "", fmt.Errorf("an actor knows no verb %q", c.Verb)
	}
	return text, nil
}

// nonblocking makes a call with O_NONBLOCK set, if that is wanted.
func nonblocking(fd int, wanted bool, call func() error) error {
	if wanted && fd >= 0 {
		unix.SetNonblock(fd, true)
		defer unix.SetNonblock(fd, false)
	}
	return call()
}

// bear starts a child that has copies of the sockets.
func (a *actor) bear(c Command) error {
	spec := Spec{Actor: &Actor{}}
	var files []int
	for i := 1; i <= max(c.Count, 1); i++ {
		fd, ok := a.find(c.Lab, Nth(c.Socket, i, c.Count))
		if !ok {
			return fmt.Errorf("%s is not open: nothing to inherit", Nth(c.Socket, i, c.Count))
		}
		files = append(files, fd)
		spec.Actor.Inherited = append(spec.Actor.Inherited, Nth(c.As, i, c.Count))
	}
	if err := a.start(spec, c.To, files...); err != nil {
		return fmt.Errorf("fork %s: %w", c.To, err)
	}
	return nil
}
