package view

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"restartlab/labctl/internal/journal"
)

// Live shows a lab that stays up: what it is, how to get into it, and the programs
// that come and go. Its methods must not be called by two goroutines at once.
type Live struct {
	// Folder is the report folder if it is not where the commands for a lab look
	// by themselves: they have to be told.
	Folder string

	page   page
	screen *screen
	lab    lab
	argv   map[int]string // by process
	up     bool
	zero   int64 // wall time at the journal's T of 0, ns
}

// NewLive shows on w what Add is given.
func NewLive(w io.Writer, o Options) *Live {
	p := newPage(o)
	return &Live{page: p, screen: &screen{w: w, page: p}, lab: lab{now: p.now}, argv: map[int]string{}}
}

// Add shows what the event adds.
func (v *Live) Add(e journal.Event) {
	v.lab.add(e)
	p := v.page
	switch {
	case e.Header != nil:
		v.screen.print(p.header(e.Header)...)
	case e.Note != nil:
		v.screen.print(p.wrap("note: ", "      ", clean(e.Note.Text))...)
	case e.LabInfo != nil && e.LabInfo.Phase == journal.PhaseBegin:
		v.zero = e.LabInfo.Wall - e.T
		v.lab.name = e.Lab
	case e.Sockets != nil && !v.up: // the first look around
		v.up = true
		v.screen.print(p.hosts(v.lab.hosts)...)
		v.screen.print("")
		v.screen.print(v.invitation()...)
		v.screen.print("")
	case e.Process != nil:
		v.addProcess(e)
	}
}

// invitation says how to get in.
func (v *Live) invitation() []string {
	p := v.page
	host := "server"
	if len(v.lab.hosts) > 0 {
		host = clean(v.lab.hosts[0].name)
	}
	lines := p.wrap("", "", p.bold(fmt.Sprintf("Lab %s is up.", clean(v.lab.name)))+" In other terminals, in this folder:")
	if v.Folder != "" {
		f := clean(v.Folder)
		return append(lines, p.grid("  ", [][]string{
			{"labctl exec --lab " + f + " " + host + " -- bash", "a shell on a host"},
			{"labctl watch --lab " + f + " " + host, "its sockets"},
			{"labctl down " + f, "the end; or Ctrl-C here"},
		})...)
	}
	return append(lines, p.grid("  ", [][]string{
		{"labctl exec " + host + " -- bash", "a shell on a host"},
		{"labctl watch " + host, "its sockets"},
		{"labctl status", "what is up"},
		{"labctl down", "the end, and the report; or Ctrl-C here"},
	})...)
}

func (v *Live) addProcess(e journal.Event) {
	at := time.Unix(0, v.zero+e.T).Format("15:04:05")
	who := fmt.Sprintf("%s %s[%d] ", at, clean(e.Host), e.PID)
	switch e.Process.Phase {
	case journal.PhaseStart:
		v.argv[e.PID] = clean(strings.Join(e.Process.Argv, " "))
		v.screen.print(v.page.wrap(who, "    ", "$ "+v.argv[e.PID])...)
	case journal.PhaseExit:
		end := "is gone"
		switch {
		case e.Process.Signal != "":
			end = "ended by " + clean(e.Process.Signal)
		case e.Process.Exit != nil:
			end = fmt.Sprintf("exit %d", *e.Process.Exit)
		}
		v.screen.print(v.page.wrap(who, "    ", fmt.Sprintf("%s: %s", v.argv[e.PID], end))...)
	}
}

// Done prints, last, the path of the report.
func (v *Live) Done(reportPath string) {
	if v.lab.result != nil && v.lab.result.Verdict == journal.Pass {
		v.screen.print("", fmt.Sprintf("Lab %s is down, after %s.", clean(v.lab.name), v.page.duration(v.lab.end-v.lab.begun)))
	} else {
		v.screen.print("")
		v.screen.print(v.page.verdict(&v.lab)...)
	}
	v.screen.print(v.page.path("report", reportPath)...)
}

// Err is the writer's first error.
func (v *Live) Err() error { return v.screen.err }

// UpLab is a lab that is up, for Up.
type UpLab struct {
	Name, Folder string
	Port         uint16
	Since        time.Time
	Hosts        []UpHost
	Programs     []UpProgram
}

// UpHost is one of its hosts.
type UpHost struct {
	Name, Addresses string
	States          map[string]int
}

// UpProgram is a program that runs there.
type UpProgram struct {
	Host  string
	PID   int
	Argv  []string
	Since time.Time
}

// Up prints the labs that are up.
func Up(w io.Writer, o Options, labs []UpLab) error {
	p := newPage(o)
	var lines []string
	for i, l := range labs {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, p.wrap("", "  ", fmt.Sprintf("%s%sup for %s%sport %d%s%s", p.bold(clean(l.Name)), p.sym.dot,
			p.duration(int64(p.now().Sub(l.Since))), p.sym.dot, l.Port, p.sym.dot, clean(l.Folder)))...)
		table := [][]string{{"host", "addresses", "sockets"}}
		for _, h := range l.Hosts {
			table = append(table, []string{clean(h.Name), clean(h.Addresses), sockets(h.States)})
		}
		lines = append(lines, p.grid("  ", table)...)
		if len(l.Programs) == 0 {
			continue
		}
		table = [][]string{{"host", "process", "runs for", "command"}}
		for _, r := range l.Programs {
			table = append(table, []string{clean(r.Host), fmt.Sprint(r.PID), p.duration(int64(p.now().Sub(r.Since))), clean(strings.Join(r.Argv, " "))})
		}
		lines = append(lines, p.grid("  ", table)...)
	}
	if p.Width > 0 {
		for i, l := range lines {
			lines[i] = fit(l, p.Width, p.sym.more)
		}
	}
	return write(w, lines)
}

// sockets are counted by state.
func sockets(states map[string]int) string {
	var parts []string
	for _, s := range slices.Sorted(maps.Keys(states)) {
		parts = append(parts, fmt.Sprintf("%d %s", states[s], clean(s)))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
