package occupant

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/netlab/netlabtest"
	"restartlab/labctl/internal/scenario"
)

// hold, as first argument, makes the test binary a program that is in one of the
// situations.
const hold = "occupy"

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == hold {
		port, err := strconv.Atoi(os.Args[3])
		if err == nil {
			err = occupy(os.Args[2], port)
		}
		fmt.Fprintln(os.Stderr, "not there:", err)
		os.Exit(1)
	}
	os.Exit(netlabtest.Main(m))
}

// situation is a way to hold a port.
type situation struct {
	name    string // in the README
	how     string // what occupy is told
	host    string
	uid     uint32 // another user's, 0 for one's own
	state   string // of the holder
	orphan  bool   // no process has it
	refused string // what a bind without options gets
}

var situations = []situation{
	{name: "a listener", how: "listen", state: "LISTEN", refused: "EADDRINUSE"},
	{name: "TIME_WAIT", how: "timewait", state: "TIME_WAIT", orphan: true, refused: "EADDRINUSE"},
	{name: "FIN_WAIT1 that no process has", how: "orphan", state: "FIN_WAIT1", orphan: true, refused: "EADDRINUSE"},
	{name: "bound, not listening", how: "bind", state: "BOUND", refused: "EADDRINUSE"},
	{name: "a listener leaked to a child", how: "leak", state: "LISTEN", refused: "EADDRINUSE"},
	{name: "a listener in another network namespace", how: "listen", host: "client", state: "LISTEN", refused: "ok"},
	{name: "a dual-stack listener, for IPv4", how: "dual", state: "LISTEN", refused: "EADDRINUSE"},
	{name: "another user's SO_REUSEPORT listener", how: "reuseport", uid: 65534, state: "LISTEN", refused: "EADDRINUSE"},
}

// occupy gets into the situation, says the number of the process that holds the
// port, and stays until its input ends.
func occupy(how string, port int) error {
	any4 := &unix.SockaddrInet4{Port: port}
	check := func(errs ...error) {
		for _, err := range errs {
			if err != nil {
				fmt.Fprintln(os.Stderr, how, err)
				os.Exit(1)
			}
		}
	}
	open := func(family int) int {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		check(err)
		return fd
	}
	// connection is one over lo, and the listener that it came by.
	connection := func() (listener, served, client int) {
		listener, client = open(unix.AF_INET), open(unix.AF_INET)
		check(unix.Bind(listener, any4), unix.Listen(listener, 1),
			unix.SetsockoptInt(client, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096),
			unix.Connect(client, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}))
		served, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
		check(err)
		return listener, served, client
	}
	switch how {
	case "listen", "reuseport":
		fd := open(unix.AF_INET)
		if how == "reuseport" {
			check(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
		}
		check(unix.Bind(fd, any4), unix.Listen(fd, 1))
	case "dual":
		fd := open(unix.AF_INET6)
		check(unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0),
			unix.Bind(fd, &unix.SockaddrInet6{Port: port}), unix.Listen(fd, 1))
	case "bind":
		check(unix.Bind(open(unix.AF_INET), any4))
	case "timewait":
		listener, served, client := connection()
		check(unix.Close(served))
		var b [1]byte
		_, err := unix.Read(client, b[:]) // the FIN
		check(err, unix.Close(client), unix.Close(listener))
	case "orphan":
		listener, served, _ := connection()
		check(unix.SetNonblock(served, true))
		for { // until the peer, which reads nothing, has no room: the FIN stays behind that
			if _, err := unix.Write(served, make([]byte, 4096)); err == unix.EAGAIN {
				break
			} else {
				check(err)
			}
		}
		check(unix.Close(served), unix.Close(listener))
	case "leak":
		fd := open(unix.AF_INET)
		check(unix.Bind(fd, any4), unix.Listen(fd, 1))
		_, err := syscall.ForkExec("/proc/self/exe", []string{os.Args[0], hold, "inherited", os.Args[3]},
			&syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2, uintptr(fd)}})
		check(err)
		os.Exit(0)
	case "inherited":
		unix.CloseOnExec(3)
	default:
		return fmt.Errorf("no situation %q", how)
	}
	fmt.Println(os.Getpid())
	_, err := io.Copy(io.Discard, os.Stdin)
	check(err)
	os.Exit(0)
	return nil
}

// TestSituations makes eight situations in a lab. In each, why must name the
// holder and agree with real binds, address by address and option by option. What
// ss, lsof, fuser and netstat show of it is the README's table.
func TestSituations(t *testing.T) {
	netlabtest.Need(t)
	network, err := netlab.New([]scenario.Host{
		{Name: "server", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.144/24")}},
		{Name: "client", Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.44.145/24")}}})
	if err != nil {
		t.Fatal(err)
	}
	defer network.Close()
	server := network.Host("server")
	table := []string{"| The port is held by | `ss` | `lsof` | `fuser` | `netstat` | `labctl why` |", "|---|---|---|---|---|---|"}
	whole := true
	for i, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			if s.uid != 0 && os.Geteuid() != 0 {
				whole = false
				t.Skip("a process of another user needs root: there is one user in a rootless namespace")
			}
			port := 12500 + i
			host := server
			if s.host != "" {
				host = network.Host(s.host)
			}
			pid := start(t, host, s, port)
			row := "| " + s.name
			if err := server.Do(func() error {
				for _, tool := range tools(port) {
					row += " | " + tool.shows(t, port, pid)
				}
				cell := why(t, s, uint16(port), pid)
				row += " | " + cell
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			table = append(table, row+" |")
		})
	}
	text := strings.Join(table, "\n")
	t.Logf("\n%s", text)
	if tool := missing(); tool != "" && os.Getenv("CI") != "" {
		t.Errorf("%s is not installed", tool)
	}
	if !whole || os.Geteuid() != 0 || missing() != "" {
		t.Logf("not compared with README.md, which shows what root sees with all tools there (missing: %q)", missing())
		return
	}
	readme, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), text) {
		t.Errorf("README.md has not this table:\n%s", text)
	}
}

// start runs a process that gets into the situation on a host and returns the
// number of the one that holds the port.
func start(t *testing.T, host *netlab.Host, s situation, port int) int {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", hold, s.how, strconv.Itoa(port))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if s.uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: s.uid, Gid: s.uid}}
	}
	err = host.Do(cmd.Start)
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("%s: %v", s.how, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close() // ends it, and the one that it leaked its listener to
		cmd.Wait()
		for unix.Kill(pid, 0) == nil && pid != cmd.Process.Pid {
			unix.Wait4(pid, nil, 0, nil) // it became ours: this is PID 1
		}
	})
	return pid
}

// why checks what this package says and returns the table's cell.
func why(t *testing.T, s situation, port uint16, pid int) string {
	l, err := Open()
	if err != nil {
		t.Error(err)
		return ""
	}
	defer l.Close()
	p, err := l.Port(Query{Port: port})
	if err != nil {
		t.Error(err)
		return ""
	}
	a := p.Judge()
	if a.Result() != s.refused {
		t.Errorf("a bind would be %s, want %s", a.Result(), s.refused)
	}
	unknown := agree(t, a, uint32(os.Geteuid()))
	all := a.Occupants
	if s.host != "" {
		all = a.Elsewhere
	}
	i := slices.IndexFunc(all, func(o explain.Occupant) bool { return o.Socket.State == s.state })
	if i < 0 {
		text, _ := json.Marshal(a)
		t.Errorf("no %s among the holders: %s", s.state, text)
		return ""
	}
	holder := all[i]
	if !s.orphan && !slices.ContainsFunc(holder.Owners, func(w explain.Owner) bool { return w.PID == pid }) {
		t.Errorf("process %d is not named: %+v", pid, holder.Owners)
	}
	if unknown > 0 && (!s.orphan || l.memory != nil) {
		t.Errorf("%d binds are not known, though a process has the socket, or the kernel's memory is read", unknown)
	}
	if s.orphan && os.Geteuid() == 0 && l.memory == nil {
		t.Logf("the kernel's memory is not read here: %v", l.refused)
	}
	if s.orphan && len(holder.Owners) > 0 {
		t.Errorf("processes %+v are named for a socket that none has", holder.Owners)
	}
	if s.uid != 0 && holder.Socket.UID != s.uid {
		t.Errorf("the holder is of user %d, want %d", holder.Socket.UID, s.uid)
	}
	if s.orphan {
		if s.state == "TIME_WAIT" && (holder.Socket.TimeLeft == nil || *holder.Socket.TimeLeft < 30_000) {
			t.Errorf("time left: %v", holder.Socket.TimeLeft)
		}
		return "state, time left"
	}
	return "process"
}

// agree holds each answer against a real bind on the same host, and returns how
// many were left open.
func agree(t *testing.T, a *explain.Answer, uid uint32) (unknown int) {
	for _, b := range a.Binds {
		err := try(b)
		got := "ok"
		if err != nil {
			got = unix.ErrnoName(err.(unix.Errno))
		}
		if b.Result == "unknown" {
			unknown++
		} else if b.Result != got {
			t.Errorf("bind %s %s: why says %s, the kernel %s", b.Address, b.Option, b.Result, got)
		}
	}
	return unknown
}

func try(b explain.Attempt) error {
	family, to := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(b.Address.Port())})
	if b.Address.Addr().Is6() {
		family, to = unix.AF_INET6, &unix.SockaddrInet6{Port: int(b.Address.Port())}
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if option := map[string]int{"SO_REUSEADDR": unix.SO_REUSEADDR, "SO_REUSEPORT": unix.SO_REUSEPORT}[b.Option]; option != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, 1); err != nil {
			return err
		}
	}
	return unix.Bind(fd, to)
}

// tool is a program that people use for this.
type tool []string

func tools(port int) []tool {
	p := strconv.Itoa(port)
	return []tool{{"ss", "-tanp"}, {"lsof", "-nP", "-iTCP:" + p}, {"fuser", "-n", "tcp", p}, {"netstat", "-tanp"}}
}

func missing() string {
	for _, tool := range tools(0) {
		if _, err := exec.LookPath(tool[0]); err != nil {
			return tool[0]
		}
	}
	return ""
}

// shows says what the tool shows of the holder: its process, its socket alone, or
// nothing.
func (c tool) shows(t *testing.T, port, pid int) string {
	if _, err := exec.LookPath(c[0]); err != nil {
		return "not installed"
	}
	out, err := exec.Command(c[0], c[1:]...).CombinedOutput() // lsof and fuser end with 1 where they find nothing
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		t.Fatal(err)
	}
	number := regexp.MustCompile(fmt.Sprintf(`\b%d\b`, pid))
	held := regexp.MustCompile(fmt.Sprintf(`^(\S+\s+){3}\S*:%d\s`, port)) // the local address of ss and netstat
	switch c[0] {
	case "lsof": // "TCP local->remote"
		held = regexp.MustCompile(fmt.Sprintf(`TCP [^>]*:%d\b`, port))
	case "fuser": // "12500/tcp: 7 8"
		held = regexp.MustCompile(fmt.Sprintf(`^%d/tcp`, port))
	}
	cell := "nothing"
	for line := range strings.Lines(string(out)) {
		switch {
		case !held.MatchString(line):
		case number.MatchString(line):
			return "process"
		case c[0] == "ss" || c[0] == "netstat":
			cell = "state"
		}
	}
	return cell
}
