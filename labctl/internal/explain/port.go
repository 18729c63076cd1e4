package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"restartlab/labctl/internal/journal"
)

// Occupant is a socket on a port of a machine, and who has it.
type Occupant struct {
	Socket  journal.Socket `json:"socket"`
	Options Known          `json:"options"`
	// Owners are the processes that have it open. None, of a socket with an
	// inode: they are not ours to see.
	Owners []Owner `json:"owners"`
	// User is the name of the socket's user, empty where it has none: a
	// TIME_WAIT's is not kept.
	User string `json:"user,omitempty"`
	// Namespace says which network namespace it is in, empty for one's own.
	Namespace string `json:"namespace,omitempty"`
}

// Owner is a process that has a socket open.
type Owner struct {
	PID     int      `json:"pid"`
	Command string   `json:"command"` // its name (/proc/PID/comm)
	Argv    []string `json:"argv"`
	User    string   `json:"user"`
	// Unit is its systemd unit; Manager is "user" for one of a user's own.
	Unit    string `json:"unit,omitempty"`
	Manager string `json:"manager,omitempty"`
	// Container is the number or name of its container, Engine whose it is.
	Container string `json:"container,omitempty"`
	Engine    string `json:"engine,omitempty"`
}

// Port is what a machine shows of one of its ports.
type Port struct {
	Protocol  string // "tcp" or "udp"
	Number    uint16
	Address   netip.Addr // the one that is asked about; none: all
	Occupants []Occupant // on that port, in one's own network namespace
	Elsewhere []Occupant // on that port, in others
	UID       uint32     // who asks
	IPv6      bool       // the kernel has it
	V6Only    bool       // net.ipv6.bindv6only
	// Denied says that the port is below net.ipv4.ip_unprivileged_port_start
	// and who asks may not bind it (capabilities(7), CAP_NET_BIND_SERVICE).
	Denied bool
	// Foreign says that the address is none of this machine's.
	Foreign bool
	Notes   []string
}

// Attempt is a bind that nobody has made, and what the kernel would answer.
type Attempt struct {
	Address netip.AddrPort `json:"address"`
	Option  string         `json:"option,omitempty"` // "SO_REUSEADDR", "SO_REUSEPORT"; none set: empty
	// Result is "ok", the name of the errno, or "unknown" where an option of an
	// old socket decides that nobody can see.
	Result string `json:"result"`
	// Holders are the occupants that conflict, or may: their places in
	// Answer.Occupants.
	Holders []int `json:"holders"`
}

// Answer says whether a port is free, and what to do.
type Answer struct {
	Protocol  string     `json:"protocol"`
	Port      uint16     `json:"port"`
	Free      bool       `json:"free"` // each bind without an option would succeed
	Binds     []Attempt  `json:"binds"`
	Occupants []Occupant `json:"occupants"`
	Elsewhere []Occupant `json:"elsewhere"`
	Advice    []string   `json:"advice"`
	Notes     []string   `json:"notes"`
}

// Result is that of the first bind without an option that would not succeed; "ok"
// if all would.
func (a *Answer) Result() string {
	for _, b := range a.Binds {
		if b.Option == "" && b.Result != "ok" {
			return b.Result
		}
	}
	return "ok"
}

// Options are those that are tried, none first.
var Options = [...]string{"", "SO_REUSEADDR", "SO_REUSEPORT"}

// Judge answers for a port.
func (p *Port) Judge() *Answer {
	a := &Answer{Protocol: p.Protocol, Port: p.Number, Free: true, Occupants: p.Occupants, Elsewhere: p.Elsewhere, Notes: p.Notes}
	for _, address := range p.addresses() {
		for _, option := range Options {
			t := p.try(address, option)
			a.Binds = append(a.Binds, t)
			a.Free = a.Free && (option != "" || t.Result == "ok")
		}
	}
	if !a.Free {
		a.Advice = p.advice(a)
	}
	return a
}

// addresses are those that a server would bind to: the one that was asked
// about, or the wildcard of each family.
func (p *Port) addresses() []netip.AddrPort {
	if p.Address.IsValid() {
		return []netip.AddrPort{netip.AddrPortFrom(p.Address, p.Number)}
	}
	all := []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), p.Number)}
	if p.IPv6 {
		all = append(all, netip.AddrPortFrom(netip.IPv6Unspecified(), p.Number))
	}
	return all
}

// try asks in the kernel's order: the address, the right to the port, and then
// the other sockets (__inet_bind).
func (p *Port) try(address netip.AddrPort, option string) Attempt {
	t := Attempt{Address: address, Option: option, Result: "ok", Holders: []int{}}
	switch {
	case p.Foreign:
		t.Result = "EADDRNOTAVAIL"
		return t
	case p.Denied:
		t.Result = "EACCES"
		return t
	}
	b := Bind{Address: address, ReuseAddr: option == "SO_REUSEADDR", ReusePort: option == "SO_REUSEPORT",
		// Binding to a definite IPv6 address sets IPV6_V6ONLY by itself.
		V6Only: p.V6Only || !address.Addr().IsUnspecified(), UID: p.UID}
	for i, o := range p.Occupants {
		switch b.Against(o.Socket, o.Options) {
		case Always:
			t.Result = "EADDRINUSE"
		case May:
			if t.Result == "ok" {
				t.Result = "unknown"
			}
		default:
			continue
		}
		t.Holders = append(t.Holders, i)
	}
	return t
}

// advice says what helps, the surest first.
func (p *Port) advice(a *Answer) []string {
	switch a.Result() {
	case "EADDRNOTAVAIL":
		return []string{fmt.Sprintf("bind to an address of this machine, or give it %s first; IP_FREEBIND binds to one that is yet to come", p.Address)}
	case "EACCES":
		return []string{fmt.Sprintf("take a port that is not privileged, run as root, give the program CAP_NET_BIND_SERVICE, or, as root: sysctl net.ipv4.ip_unprivileged_port_start=%d", p.Number)}
	}
	var advice []string
	say := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(advice, text) {
			advice = append(advice, text)
		}
	}
	held := map[int]bool{}
	for _, t := range a.Binds {
		for _, i := range t.Holders {
			held[i] = true
		}
	}
	var wait int64 = -1
	pending := false
	for i, o := range a.Occupants {
		s := o.Socket
		if !held[i] {
			continue
		}
		switch {
		case len(o.Owners) > 0:
			say("%s", stop(o))
		case s.Inode != 0:
			who := "; root can see which"
			if p.UID == 0 {
				who = ", which is hidden here"
			}
			say("stop the process of user %s that has the %s socket open%s", cmp.Or(o.User, fmt.Sprint(s.UID)), s.State, who)
		case s.State == "TIME_WAIT" && s.TimeLeft != nil:
			wait = max(wait, *s.TimeLeft)
		case s.State == "ESTABLISHED" || s.State == "CLOSE_WAIT": // its listener is stopped, and resets it
		default:
			pending = true
		}
	}
	if wait >= 0 {
		say("wait %d s for TIME_WAIT to run out (the kernel's timer may take 2 s more)", (wait+999)/1000)
	}
	if pending {
		say("wait for the peer's answer, or for the kernel to give up on what no process has open any more; root can end it: ss -K sport = :%d", p.Number)
	}
	switch reuse := a.Worst("SO_REUSEADDR"); {
	case reuse == "ok" && a.Result() == "EADDRINUSE":
		say("or set SO_REUSEADDR on the new socket before bind(), in every run of the server: the old sockets have it")
	case reuse == "unknown":
		say("or set SO_REUSEADDR before bind(): it helps if the last run of the server had set it too, which cannot be seen here; from the second run with it on it does")
	case wait >= 0 || pending:
		say("for the next restart: set SO_REUSEADDR before bind() in every run of the server; it did not have it in the last one, or something else holds the port too")
	}
	if a.Worst("SO_REUSEPORT") == "ok" {
		say("or set SO_REUSEPORT before bind(): the old sockets have it, and connections are then shared out between both")
	}
	return advice
}

// Worst is the least good result with an option.
func (a *Answer) Worst(option string) string {
	rank := []string{"ok", "unknown"}
	result := "ok"
	for _, t := range a.Binds {
		if t.Option != option {
			continue
		}
		if i := slices.Index(rank, t.Result); i < 0 {
			return t.Result
		} else if i > slices.Index(rank, result) {
			result = t.Result
		}
	}
	return result
}

// stop says how to end what has the socket open.
func stop(o Occupant) string {
	first := o.Owners[0]
	var names []string
	for _, w := range o.Owners {
		names = append(names, fmt.Sprintf("%s (pid %d)", w.Command, w.PID))
	}
	const most = 4
	if more := len(names) - most; more > 0 {
		names = append(names[:most], fmt.Sprintf("%d more", more))
	}
	who := strings.Join(names, ", ")
	if len(o.Owners) > 1 {
		who += ": each has the socket open, and the port is free when the last has closed it"
	}
	how := fmt.Sprintf("kill %d", first.PID)
	for _, w := range o.Owners[1:min(len(o.Owners), most)] {
		how += fmt.Sprintf(" %d", w.PID)
	}
	switch {
	case first.Engine == "docker" || first.Engine == "podman":
		how = fmt.Sprintf("%s stop %s", first.Engine, short(first.Container))
	case first.Unit != "" && first.Manager == "user":
		how = "systemctl --user stop " + first.Unit
	case first.Unit != "":
		how = "systemctl stop " + first.Unit
	}
	return fmt.Sprintf("stop %s: %s", who, how)
}

// short is a container's number as its engine prints it.
func short(id string) string { return id[:min(len(id), 12)] }
