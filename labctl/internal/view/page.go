package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"restartlab/labctl/internal/journal"
)

// header is what was run, on what.
func (p page) header(h *journal.Header) []string {
	if h == nil {
		return nil
	}
	title := p.text(h.Scenario.Title)
	if title == "" {
		title = clean(h.Scenario.Name)
	}
	facts := []string{clean(h.Scenario.File), "Linux " + clean(h.Machine.Kernel) + " " + clean(h.Machine.Arch)}
	if h.Machine.HZ > 0 {
		facts = append(facts, fmt.Sprintf("HZ %d", h.Machine.HZ))
	}
	if g := h.Guest; g != nil {
		facts = append(facts, "QEMU "+clean(g.QEMU))
		if g.Warp {
			facts = append(facts, fmt.Sprintf("virtual time, seed %d", g.Seed))
		}
	} else if h.Rootless {
		facts = append(facts, "rootless")
	} else {
		facts = append(facts, "root")
	}
	for _, k := range sortedKeys(h.Scenario.Set) {
		facts = append(facts, clean(k)+"="+clean(h.Scenario.Set[k]))
	}
	for _, host := range slices.Sorted(maps.Keys(h.Scenario.Joined)) {
		facts = append(facts, fmt.Sprintf("%s joined from process %d", clean(host), h.Scenario.Joined[host]))
	}
	if h.Author != "" {
		facts = append(facts, "by "+clean(h.Author))
	}
	lines := each(p.wrap("", "", title), p.bold)
	lines = append(lines, each(p.wrap("", "", strings.Join(facts, p.sym.dot)), p.dim)...)
	if len(h.Scenario.Command) > 0 {
		lines = append(lines, p.wrap("app is ", "  ", clean(strings.Join(h.Scenario.Command, " ")))...)
	}
	return lines
}

// hosts are the lab's hosts with their addresses, one a line.
func (p page) hosts(hosts []host) []string {
	names := 0
	for _, h := range hosts {
		names = max(names, width(clean(h.name)))
	}
	var lines []string
	for _, h := range hosts {
		var addresses []string
		for _, a := range h.addresses {
			addresses = append(addresses, a.Addr().String())
		}
		first := pad(clean(h.name), names) + "  "
		lines = append(lines, p.wrap(first, strings.Repeat(" ", width(first)), strings.Join(addresses, "  "))...)
	}
	return lines
}

// verdict says how the run ended and, if not well, what to look at.
func (p page) verdict(l *lab) []string {
	name, file := "the run", ""
	if l.header != nil {
		name, file = clean(l.header.Scenario.Name), clean(l.header.Scenario.File)
	}
	took := p.duration(l.end - l.begun)
	if l.result == nil {
		if l.header == nil {
			return each(p.wrap("INCOMPLETE ", "  ", "nothing was recorded"), p.bad)
		}
		return each(p.wrap("INCOMPLETE ", "  ", fmt.Sprintf("%s: it ended early, after %s in %s", name, l.progress(), took)+l.losses()), p.bad)
	}
	switch l.result.Verdict {
	case journal.Pass:
		return each(p.wrap("PASS ", "  ", fmt.Sprintf("%s: %s in %s", name, count(l.ended, "step"), took)+l.losses()), p.good)
	case journal.Fail:
		return append(each(p.wrap("FAIL ", "  ", name+p.where(l, file)+l.losses()), p.bad), p.advice(l)...)
	case journal.Error:
		return each(p.wrap("ERROR ", "  ", strings.TrimSuffix(name+p.where(l, file)+": "+p.why(l), ": ")+l.losses()), p.bad)
	}
	return each(p.wrap("INCOMPLETE ", "  ", fmt.Sprintf("%s: %s in %s", name, l.progress(), took)+l.losses()), p.bad)
}

func (l *lab) progress() string {
	if l.steps == 0 {
		return count(l.ended, "step")
	}
	return fmt.Sprintf("%d of %s", l.ended, count(l.steps, "step"))
}

// why says what kept the lab from doing its work, as far as an event tells.
func (p page) why(l *lab) string {
	if l.result != nil && l.result.Error != "" {
		return clean(l.result.Error)
	}
	if l.badEnd != nil && l.badEnd.Observed != nil {
		return clean(l.badEnd.Observed.Failure)
	}
	return ""
}

// where names the failed step as its author can find it.
func (p page) where(l *lab, file string) string {
	if l.bad == nil {
		return ""
	}
	w := " at step `" + clean(l.bad.begin.ID) + "`"
	line := max(l.bad.begin.Line, l.badEnd.Line)
	switch {
	case line > 0 && file != "":
		w += fmt.Sprintf(" (line %d of %s)", line, file)
	case line > 0:
		w += fmt.Sprintf(" (line %d)", line)
	}
	return w
}

// advice says where the evidence of a failed step stands.
func (p page) advice(l *lab) []string {
	if l.bad == nil {
		return nil
	}
	text := "The report lists what this step saw, event by event."
	switch {
	case l.bad.host != "" && !l.bad.recorded:
		text = ""
		listens := func(r journal.Socket) bool { return r.State == "LISTEN" && r.Local.Port() == l.port }
		if t := l.bad.tables[l.bad.host]; l.bad.inUse && t != nil && !slices.ContainsFunc(t.Rows, listens) {
			text = "It says that its address is in use: set SO_REUSEADDR on its socket before bind(), in every run; see labctl explain restart. "
		}
		text += "What an exec program asked of the kernel is not recorded: its own output and the sockets on its port have to tell."
	case len(l.bad.refused) > 0:
		text = "The refused call is explained above; the report lists the events that this rests on."
	}
	return p.wrap(indent, indent, text)
}

// path is the report's, last and whole.
func (p page) path(what, report string) []string {
	if report == "" {
		return nil
	}
	report = clean(report)
	if p.Width > 0 && width(what+": "+report) > p.Width {
		return []string{what + ":", report}
	}
	return []string{what + ": " + report}
}

// fit cuts s to columns, with a sign that it is cut.
func fit(s string, columns int, more string) string { return ansi.Truncate(s, columns, more) }

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
