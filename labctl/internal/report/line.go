package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"restartlab/labctl/internal/journal"
)

// String is the event as evidence shows it:
//
//	#41 +1.203 s server app[7] bind(3, 0.0.0.0:12500) = -1 EADDRINUSE (98)
func (e Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "#%d %s ", e.N, clock(e.T))
	if e.Host != "" {
		b.WriteString(e.Host + " ")
	}
	switch {
	case e.PID != 0:
		fmt.Fprintf(&b, "%s[%d] ", e.Program, e.PID)
	case e.Program != "":
		b.WriteString(e.Program + " ")
	}
	b.WriteString(e.Text)
	return b.String()
}

// clock is a time since the run's start: "+1.203 s".
func clock(ns int64) string { return fmt.Sprintf("+%.3f s", float64(ns)/1e9) }

// text says in words what an event tells.
func text(e journal.Event) string {
	switch {
	case e.LabInfo != nil:
		if e.LabInfo.Phase == journal.PhaseBegin {
			return fmt.Sprintf("the lab begins: %d steps, port %d", e.LabInfo.Steps, e.LabInfo.Port)
		}
		return strings.TrimSuffix(fmt.Sprintf("the lab ends: %s: %s", e.LabInfo.Verdict, e.LabInfo.Error), ": ")
	case e.Change != nil:
		return changeText(e.Change)
	case e.StepRun != nil:
		s := e.StepRun
		if s.Phase == journal.PhaseBegin {
			return fmt.Sprintf("step %d begins: %s", s.Index, s.ID)
		}
		return fmt.Sprintf("step %d ends: %s", s.Index, s.Verdict)
	case e.Process != nil:
		return processText(e.Process)
	case e.Syscall != nil:
		return callText(e.Syscall)
	case e.Sockets != nil:
		return tableText(e.Sockets)
	case e.Segment != nil:
		return segmentText(e.Segment)
	case e.State != nil:
		return stateText(e.State)
	case e.Reset != nil:
		return resetText(e.Reset)
	case e.Loss != nil:
		return lossText(e.Loss)
	case e.Pause != nil:
		if e.Pause.Phase == journal.PhaseBegin {
			return fmt.Sprintf("the lab waits for its reader before step %d: %s", e.Pause.Index, e.Pause.ID)
		}
		return fmt.Sprintf("the reader lets step %d begin after %s", e.Pause.Index, journal.Duration(e.Pause.Duration))
	case e.Prediction != nil:
		return predictionText(*e.Prediction)
	case e.Note != nil:
		return e.Note.Text
	}
	return string(e.Kind)
}

func changeText(c *journal.Change) string {
	var parts []string
	for _, a := range c.Addresses {
		parts = append(parts, a.String())
	}
	for _, name := range slices.Sorted(maps.Keys(c.Sysctls)) {
		parts = append(parts, name+" = "+strings.Join(strings.Fields(c.Sysctls[name]), " "))
	}
	switch c.What {
	case "up":
		return "the host is up: " + strings.Join(append([]string{c.Interface}, parts...), ", ")
	case "link":
		return fmt.Sprintf("link %s goes %s", c.Interface, c.State)
	case "drop", "destroy":
		return c.What + " " + c.Detail
	}
	return strings.Join(parts, ", ")
}

func processText(p *journal.Process) string {
	switch p.Phase {
	case journal.PhaseStart:
		text := "starts: " + strings.Join(p.Argv, " ")
		if p.Parent != 0 {
			text += fmt.Sprintf(", forked by process %d", p.Parent)
		}
		return text
	case journal.PhaseOutput:
		return fmt.Sprintf("%s: %s", p.Stream, p.Line)
	case journal.PhaseSignal:
		return "is sent " + p.Signal
	}
	return ending(p.Exit, p.Signal)
}

// ending says how a process ended.
func ending(exit *int, signal string) string {
	switch {
	case signal != "":
		return "is ended by " + signal
	case exit != nil:
		return fmt.Sprintf("exits with code %d", *exit)
	}
	return "is gone"
}

// callText is a system call as strace(1) writes it.
func callText(c *journal.Syscall) string {
	args := []string{strconv.Itoa(c.FD)}
	a := c.Args
	number := func(n *int) {
		if n != nil {
			args = append(args, strconv.Itoa(*n))
		}
	}
	switch c.Name {
	case "socket":
		args = []string{a.Domain, a.Type}
	case "accept":
		args[0] = strconv.Itoa(c.Listener)
	case "setsockopt":
		args = append(args, a.Level, a.Option, a.Value)
	case "shutdown":
		args = append(args, a.How)
	case "read", "write":
		if a.Text != "" {
			args = append(args, strconv.Quote(a.Text))
		}
		number(a.Bytes)
	}
	if a.Address.IsValid() {
		args = append(args, a.Address.String())
	}
	number(a.Backlog)
	text := fmt.Sprintf("%s(%s) = %d", c.Name, strings.Join(args, ", "), c.Result)
	switch {
	case c.Failed():
		text += fmt.Sprintf(" %s (%d)", c.Errno, c.Number)
	case c.Name == "read" && c.Result == 0 && (a.Bytes == nil || *a.Bytes > 0):
		text += ", the peer's FIN"
	}
	return text
}

// segmentText is a segment in the order in which tcpdump(8) tells of one:
//
//	eth0 out 192.168.44.145:40112 -> 192.168.44.144:12500 SYN seq 7 win 64240 len 0 [mss 1460, sackOK]
func segmentText(s *journal.Segment) string {
	way := "in"
	if s.Out {
		way = "out"
	}
	text := fmt.Sprintf("%s %s %s -> %s %s seq %d", s.Interface, way, s.From, s.To, cmp.Or(strings.Join(s.Flags, ","), "no flags"), s.Seq)
	if slices.Contains(s.Flags, "ACK") {
		text += fmt.Sprintf(" ack %d", s.Ack)
	}
	text += fmt.Sprintf(" win %d len %d", s.Window, s.Length)
	if len(s.Options) > 0 {
		text += " [" + strings.Join(s.Options, ", ") + "]"
	}
	return text
}

func tableText(s *journal.Sockets) string {
	text := "the socket table"
	if s.Port != 0 {
		text += fmt.Sprintf(" of port %d", s.Port)
	}
	if s.After != 0 {
		text += fmt.Sprintf(", read after #%d", s.After)
	}
	if s.Error != "" {
		return text + ": " + s.Error
	}
	return text + ": " + cmp.Or(tally(states(s.Rows)), "no sockets")
}

func states(rows []journal.Socket) map[string]int {
	n := map[string]int{}
	for _, r := range rows {
		n[r.State]++
	}
	return n
}

// tally is "LISTEN 1, TIME_WAIT 2", by name; empty for nothing at all.
func tally(n map[string]int) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(n)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, n[k]))
	}
	return strings.Join(parts, ", ")
}
