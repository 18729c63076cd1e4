package campaign_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
)

// asLabctl makes this test binary labctl, for those that trace a whole run.
const asLabctl = "RESTARTLAB_TEST_LABCTL"

// traced are the calls whose results are compared; a process is known by how it was
// made.
const traced = "trace=bind,listen,connect,accept,accept4,clone,clone3,fork,vfork"

// TestStrace plays every scenario of the article, several of each, side by side, by a labctl
// that runs under strace with all that it starts. For each process of each lab the
// calls in its journal must be those that strace saw: in order, with their arguments
// and results.
func TestStrace(t *testing.T) {
	t.Parallel()
	need(t)
	strace := tool(t, "strace")
	folder := t.TempDir()
	trace, reports := filepath.Join(folder, "strace"), filepath.Join(folder, "reports")
	var names []string
	for len(names) < sideBySide {
		for _, one := range article(t) {
			names = append(names, one.Name)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-f", "--seccomp-bpf", "--pidns-translation", "-e", "signal=none", "-e", traced, "-o", trace,
		self, "run", "--report", reports, "-j", fmt.Sprint(len(names))}, names...)
	cmd := exec.Command(strace, args...)
	// Signals by which Go's scheduler takes turns would stop each thread for strace.
	cmd.Env = append(os.Environ(), asLabctl+"=1", "GODEBUG=asyncpreemptoff=1")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		if strings.Contains(said.String(), "PTRACE_TRACEME") || strings.Contains(said.String(), "ptrace(") {
			unable(t, "strace does not work here: %s", said.String())
		}
		t.Fatalf("%v\n%s", err, said.String())
	}

	data, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	var theirs []string
	for _, calls := range straced(t, string(data)) {
		theirs = append(theirs, calls.String())
	}
	files, err := filepath.Glob(filepath.Join(reports, "*", campaign.JournalFile))
	if err != nil || len(files) != len(names) {
		t.Fatalf("%d journals of %d runs (%v)", len(files), len(names), err)
	}
	var ours []string
	number := 0
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		events, err := journal.ReadAll(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		calls := recorded(t, events)
		for _, list := range calls {
			number += len(list)
		}
		ours = append(ours, calls.String())
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	if diff := gocmp.Diff(theirs, ours); diff != "" || number == 0 {
		t.Errorf("strace and the journals differ:\n%s", diff)
	}
	total := 0
	for _, text := range theirs {
		total += strings.Count(text, "(")
	}
	t.Logf("strace: %d calls of %d labs side by side, %d in their journals", total, len(theirs), number)
}

// calls are those of the processes of one PID namespace, by the number in it.
type calls map[int][]string

func (c calls) String() string {
	var b strings.Builder
	pids := make([]int, 0, len(c))
	for pid := range c {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	for _, pid := range pids {
		fmt.Fprintf(&b, "process %d: %s\n", pid, strings.Join(c[pid], ", "))
	}
	return b.String()
}

// recorded are the calls in a journal.
func recorded(t *testing.T, events []journal.Event) calls {
	t.Helper()
	all := calls{}
	slices.SortStableFunc(events, func(a, b journal.Event) int {
		if a.Syscall == nil || b.Syscall == nil {
			return 0
		}
		return cmp.Compare(a.Syscall.Start, b.Syscall.Start)
	})
	for _, e := range events {
		c := e.Syscall
		if c == nil {
			continue
		}
		result := fmt.Sprint(c.Result)
		if c.Failed() {
			result = c.Errno
		}
		text := ""
		switch c.Name {
		case "bind", "connect":
			text = fmt.Sprintf("%s(%d, %s) = %s", c.Name, c.FD, c.Args.Address, result)
		case "listen":
			text = fmt.Sprintf("listen(%d, %d) = %s", c.FD, *c.Args.Backlog, result)
		case "accept":
			if c.Failed() { // nobody's address
				text = fmt.Sprintf("accept(%d) = %s", c.Listener, result)
				break
			}
			text = fmt.Sprintf("accept(%d, %s) = %s", c.Listener, c.Args.Address, result)
		default:
			continue
		}
		all[e.PID] = append(all[e.PID], text)
	}
	return all
}

// What strace prints.
var (
	straceLine = regexp.MustCompile(`^(\d+) +(.*)$`)
	unfinished = regexp.MustCompile(`^(.*) <unfinished \.\.\.>$`)
	resumed    = regexp.MustCompile(`^<\.\.\. \w+ resumed>(.*)$`)
	madeInside = regexp.MustCompile(`= (\d+) /\* (\d+) in strace's PID NS \*/$`)
	made       = regexp.MustCompile(`= (\d+)$`)
	oneCall    = regexp.MustCompile(`^(\w+)\((\d+), (.*)\) += (\S+)( E\w+)?`)
	address    = regexp.MustCompile(`sa_family=AF_INET6?, sin6?_port=htons\((\d+)\), .*(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"`)
)

// straced are the calls that strace saw, of each PID namespace that a labctl made, but
// for those of its first process, which is labctl's own.
func straced(t *testing.T, text string) []calls {
	t.Helper()
	type line struct {
		thread int
		text   string
	}
	var lines []*line // in the order in which the calls began
	open := map[int]*line{}
	for raw := range strings.Lines(text) {
		m := straceLine.FindStringSubmatch(strings.TrimSuffix(raw, "\n"))
		if m == nil {
			t.Fatalf("strace prints %q", raw)
		}
		thread, _ := strconv.Atoi(m[1])
		switch u, r := unfinished.FindStringSubmatch(m[2]), resumed.FindStringSubmatch(m[2]); {
		case r != nil && u == nil && open[thread] != nil:
			open[thread].text += r[1]
			delete(open, thread)
		case r != nil: // a thread that ended in its call, or one that strace met in the middle
			delete(open, thread)
		case u != nil:
			open[thread] = &line{thread, u[1]}
			lines = append(lines, open[thread])
		default:
			lines = append(lines, &line{thread, m[2]})
		}
	}
	process := map[int]int{} // of a thread
	parent := map[int]int{}
	inside := map[int]int{} // the number in the PID namespace
	first := map[int]bool{} // of a PID namespace
	maker := map[int]int{}  // the thread that made it
	for _, l := range lines {
		if !strings.HasPrefix(l.text, "clone") && !strings.HasPrefix(l.text, "fork") && !strings.HasPrefix(l.text, "vfork") {
			continue
		}
		id, number := 0, 0
		if m := madeInside.FindStringSubmatch(l.text); m != nil {
			number, _ = strconv.Atoi(m[1])
			id, _ = strconv.Atoi(m[2])
		} else if m := made.FindStringSubmatch(l.text); m != nil {
			id, _ = strconv.Atoi(m[1])
		} else {
			continue // it failed
		}
		maker[id] = l.thread
		if strings.Contains(l.text, "CLONE_THREAD") {
			continue
		}
		process[id], inside[id] = id, number
		first[id] = strings.Contains(l.text, "CLONE_NEWPID")
	}
	var of func(thread int) int
	of = func(thread int) int {
		if p := process[thread]; p != 0 || maker[thread] == 0 {
			return p
		}
		return of(maker[thread])
	}
	for id := range process {
		parent[id] = of(maker[id])
	}
	namespace := func(p int) int {
		for p != 0 && !first[p] {
			p = parent[p]
		}
		return p
	}
	all := map[int]calls{}
	for id := range first {
		if first[id] {
			all[id] = calls{}
		}
	}
	for _, l := range lines {
		p := of(l.thread)
		where := namespace(p)
		if where == 0 || where == p {
			continue
		}
		if c := call(l.text); c != "" {
			all[where][inside[p]] = append(all[where][inside[p]], c)
		}
	}
	var list []calls
	for _, c := range all {
		if len(c) > 0 { // else it only tried whether labs can be had here
			list = append(list, c)
		}
	}
	return list
}

// call is one that strace saw, as recorded writes it; empty if it is none to compare:
// a call that its process did not survive, or one that a signal made the kernel begin
// anew.
func call(text string) string {
	m := oneCall.FindStringSubmatch(text)
	if m == nil || m[4] == "?" {
		return ""
	}
	name, fd, rest, result := strings.TrimSuffix(m[1], "4"), m[2], m[3], m[4]
	if result == "-1" {
		result = strings.TrimSpace(m[5])
	}
	if name == "listen" {
		return fmt.Sprintf("listen(%s, %s) = %s", fd, rest, result)
	}
	if name == "accept" && m[4] == "-1" {
		return fmt.Sprintf("accept(%s) = %s", fd, result)
	}
	a := address.FindStringSubmatch(rest)
	if a == nil {
		return "" // not of IP
	}
	port, _ := strconv.ParseUint(a[1], 10, 16)
	return fmt.Sprintf("%s(%s, %s) = %s", name, fd, netip.AddrPortFrom(netip.MustParseAddr(a[2]), uint16(port)), result)
}
