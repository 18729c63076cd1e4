// Package report turns a run's journal into documents: report.json, report.md,
// report.html, junit.xml and TAP.
//
// It is pure. The same journal gives the same bytes: nothing comes from the
// clock, the machine, the locale or the order of a map. Whatever a program
// printed may stand in a journal, so every document escapes all of it. A
// journal that was cut short gives a report that says so.
package report

import (
	"encoding/json"
	"io"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/ladder"
)

// SchemaVersion is the version of report.json, stated in its field schema. It
// grows when a field changes its meaning or goes, not when one is added.
const SchemaVersion = 1

// Report is a run as report.json states it. All times are nanoseconds of
// CLOCK_MONOTONIC since the run's start. The field step of anything is the
// index of the step under way or, between two steps, of the one before; it is
// absent before the first.
type Report struct {
	// Schema is the version of this format: 1.
	Schema   int      `json:"schema"`
	Scenario Scenario `json:"scenario"`
	// Author is who handed the run in, as --author said.
	Author string `json:"author,omitempty"`
	// Lab is the lab's name where the run has many: its cell's, and " #2" for its
	// second run.
	Lab string `json:"lab,omitempty"`
	// Verdict is pass, fail (an expectation did not hold), error (the lab
	// could not do its work) or incomplete (interrupted or killed).
	Verdict journal.Verdict `json:"verdict"`
	// Error says why the verdict is error.
	Error string `json:"error,omitempty"`
	// Port is the scenario's port.
	Port uint16 `json:"port,omitempty"`
	// Duration is from the lab's begin to its end, or to the last event.
	Duration    int64       `json:"duration_ns"`
	Environment Environment `json:"environment"`
	// Steps are all steps of the scenario, also those not reached.
	Steps []Step `json:"steps"`
	// Binds are all bind() calls of recorded programs, and the listen()
	// calls that were refused.
	Binds []Bind `json:"binds"`
	// Sockets are the socket tables read, in time order.
	Sockets   []Table   `json:"sockets"`
	Processes []Process `json:"processes"`
	// Events are all events of the journal but its header, in words, in time
	// order.
	Events []Event `json:"events"`
	Notes  []Note  `json:"notes"`
	// Predictions are what the reader said that steps would do, before they were
	// shown (run --predict), and whether it came so. Absent if none was made.
	Predictions []journal.Prediction `json:"predictions,omitempty"`

	ladder *ladder.Ladder
}

// Scenario is what was run.
type Scenario struct {
	Name string `json:"name"`
	// File is the scenario's file as the user named it, or "NAME (shipped)".
	File string `json:"file"`
	// Digest is "sha256:" and the hex digest of the scenario's text, which
	// the journal holds.
	Digest string       `json:"digest"`
	Title  journal.Text `json:"title,omitzero"`
	Lesson journal.Text `json:"lesson,omitzero"`
	// Set holds the values given by --set.
	Set map[string]string `json:"set,omitempty"`
	// Command is the user's own server, given in place of the program app.
	Command []string `json:"command,omitempty"`
	// Joined are the hosts that were there before the run, as --join said:
	// the processes whose network namespaces they are, by host.
	Joined map[string]int `json:"joined,omitempty"`
	// Live says that the lab played no steps: it stayed up, and programs were
	// started in it by hand.
	Live bool `json:"live,omitempty"`
}

// Environment is what the run depended on.
type Environment struct {
	// Kernel is the release that uname tells, KernelBuild its version, Arch its
	// machine.
	Kernel      string `json:"kernel"`
	KernelBuild string `json:"kernel_build"`
	Arch        string `json:"arch"`
	// HZ is the kernel's timer interrupts a second, absent if not known.
	HZ   int    `json:"hz,omitempty"`
	CPUs int    `json:"cpus"`
	OS   string `json:"os,omitempty"`
	// Labctl is the program's version.
	Labctl string `json:"labctl"`
	// Rootless says that the lab ran in a user namespace without privilege.
	Rootless bool `json:"rootless"`
	// Guest is the machine that the lab had for itself, with a kernel of its
	// own; absent if it ran on this machine's. With its warp all durations are
	// virtual.
	Guest *journal.Guest `json:"guest,omitempty"`
	// Started is the wall time of the run's start, RFC 3339.
	Started string `json:"started"`
	// Sysctls are, by host, the kernel settings that matter, as read when
	// the host was made. Later changes are events.
	Sysctls map[string]map[string]string `json:"sysctls"`
	Hosts   []Host                       `json:"hosts"`
	// States is how many changes of a socket's TCP state were recorded.
	States int `json:"states"`
	// Inferred is how many of them nobody saw as they happened: they were
	// worked out from segments and calls, or seen in socket tables.
	Inferred int `json:"inferred"`
	// Segments is how many TCP segments were recorded at the hosts'
	// interfaces; one that crosses the link counts twice.
	Segments int `json:"segments"`
	// Lost is how many events, of any kind, an observer saw and lost.
	Lost int `json:"lost"`
}

// Host is a network namespace of the lab.
type Host struct {
	Name      string `json:"name"`
	Interface string `json:"interface,omitempty"`
	// Addresses are in CIDR notation.
	Addresses []string `json:"addresses"`
	// Segments says that the TCP segments at the interface were recorded.
	Segments bool `json:"segments"`
}

// Step is a step of the scenario and what came of it.
type Step struct {
	virtual bool // its durations

	// Index counts from 1.
	Index int `json:"index"`
	// ID and Verb are empty if the step was not reached and the journal, one of
	// an older labctl, does not name it.
	ID    string       `json:"id"`
	Verb  string       `json:"verb"`
	Title journal.Text `json:"title,omitzero"`
	// Object is the program or host that the verb acts on.
	Object string `json:"object,omitempty"`
	// Line is the step's line in the scenario file.
	Line int `json:"line,omitempty"`
	// Status is pass, fail, error, skipped (after the step that ended the
	// lab) or incomplete (the run ended before this step did).
	Status journal.Verdict `json:"status"`
	// Expected is the expectation as written; absent when the step need only
	// succeed.
	Expected json.RawMessage `json:"expected,omitempty"`
	// Observed is what was seen, in the words of expectations; absent if the
	// step did not end.
	Observed *journal.Observed `json:"observed,omitempty"`
	// Mismatches are the fields of the expectation that did not hold.
	Mismatches []journal.Mismatch `json:"mismatches,omitempty"`
	// T is when the step began, Duration how long it took; 0 if it did not
	// begin, or did not end.
	T        int64 `json:"t_ns"`
	Duration int64 `json:"duration_ns"`

	reached bool // there is an event of it
}

// Bind is a bind() call, or a listen() call that was refused.
type Bind struct {
	// N is the call's event, T when it returned.
	N    int   `json:"n"`
	T    int64 `json:"t_ns"`
	Step int   `json:"step,omitempty"`
	// Call is "bind" or "listen".
	Call string `json:"call"`
	Host string `json:"host"`
	// Program is the program's name in the scenario, PID its process.
	Program string `json:"program"`
	PID     int    `json:"pid"`
	Address string `json:"address"`
	Port    uint16 `json:"port"`
	// Options are the socket's, as read from the kernel after the call.
	Options Options `json:"options"`
	// Result is "ok" or the errno's name, Errno its number.
	Result string `json:"result"`
	Errno  int    `json:"errno,omitempty"`
	// Holders held the port, by the socket table read right after the call.
	Holders []Holder `json:"holders,omitempty"`
	// Explanation says in one line why the call was refused; Clauses are its
	// parts, each with the events it rests on.
	Explanation string   `json:"explanation,omitempty"`
	Clauses     []Clause `json:"clauses,omitempty"`
	// Fix says what to do, where something is known to help.
	Fix string `json:"fix,omitempty"`
}

// Options are socket options. An absent one is not known.
type Options struct {
	ReuseAddr *bool `json:"reuseaddr,omitempty"`
	ReusePort *bool `json:"reuseport,omitempty"`
	V6Only    *bool `json:"v6only,omitempty"`
}

// Holder is a socket that held the port.
type Holder struct {
	State  string `json:"state"`
	Local  string `json:"local"`
	Remote string `json:"remote,omitempty"`
	// TimeLeft is what is left on the socket's timer.
	TimeLeft *int64 `json:"time_left_ms,omitempty"`
	// ReuseAddr and ReusePort are absent if no event tells them.
	ReuseAddr *bool `json:"reuseaddr,omitempty"`
	ReusePort *bool `json:"reuseport,omitempty"`
	// Program made or accepted the socket; PID is a process that has it open.
	// Absent if no event tells.
	Program string `json:"program,omitempty"`
	PID     int    `json:"pid,omitempty"`
	// ClosedFirst is "this side", "the peer", or absent if no event tells.
	ClosedFirst string `json:"closed_first,omitempty"`
}

// Clause is one statement of an explanation.
type Clause struct {
	Text string `json:"text"`
	// Events are the numbers of the events it rests on; a clause without any
	// says what is unknown.
	Events []int `json:"events"`
}

// Table is a host's TCP socket table at one moment.
type Table struct {
	// N is the table's event, T when the table was complete.
	N    int    `json:"n"`
	T    int64  `json:"t_ns"`
	Step int    `json:"step,omitempty"`
	Host string `json:"host"`
	// Reason is "step" (at the step's end), "refused" (right after a refused
	// bind or listen), "wait" (while waiting), "held" (while the lab waited for
	// its reader) or "live" (it changed in a lab that stays).
	Reason string `json:"reason"`
	// After is the event of the refused call.
	After int `json:"after,omitempty"`
	// Port, if not 0, says that only sockets on this local port are listed.
	Port uint16           `json:"port,omitempty"`
	Rows []journal.Socket `json:"rows"`
	// Unlisted are states that this kernel cannot list.
	Unlisted []string `json:"unlisted,omitempty"`
	// Error says why the table could not be read.
	Error string `json:"error,omitempty"`
}

// Process is one process of the lab.
type Process struct {
	Program string `json:"program"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	// Parent is the process of the lab that forked it.
	Parent int      `json:"parent,omitempty"`
	Argv   []string `json:"argv"`
	UID    int      `json:"uid"`
	// Start is when it ran its program.
	Start int64 `json:"start_ns"`
	// Ended is when its exit was seen; absent if it was not.
	Ended *int64 `json:"exit_ns,omitempty"`
	// Exit is the exit code, absent if a signal ended the process or the
	// code could not be seen.
	Exit *int `json:"exit,omitempty"`
	// Signal is the signal that ended it.
	Signal string `json:"signal,omitempty"`
	Output []Line `json:"output"`
}

// Line is a whole output line without its end.
type Line struct {
	T    int64 `json:"t_ns"`
	Step int   `json:"step,omitempty"`
	// Stream is "stdout" or "stderr".
	Stream string `json:"stream"`
	Text   string `json:"text"`
}

// Event is an event of the journal in words.
type Event struct {
	N       int          `json:"n"`
	T       int64        `json:"t_ns"`
	Step    int          `json:"step,omitempty"`
	Kind    journal.Kind `json:"kind"`
	Host    string       `json:"host,omitempty"`
	Program string       `json:"program,omitempty"`
	PID     int          `json:"pid,omitempty"`
	Text    string       `json:"text"`
	// Failed marks a system call that the kernel refused.
	Failed bool `json:"failed,omitempty"`
}

// Note is a remark about the run itself.
type Note struct {
	N    int    `json:"n"`
	T    int64  `json:"t_ns"`
	Text string `json:"text"`
}

// JSON writes report.json or, of a study, results.json; of several runs an
// array of them.
func JSON(w io.Writer, runs ...Document) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if len(runs) == 1 {
		return e.Encode(runs[0].json())
	}
	all := make([]any, len(runs))
	for i, r := range runs {
		all[i] = r.json()
	}
	return e.Encode(all)
}

// Text writes the run as a text ladder; several follow one another.
func Text(w io.Writer, reports ...*Report) error { return ladders(w, (*ladder.Ladder).Text, reports) }

// Mermaid writes the run as a Mermaid sequence diagram.
func Mermaid(w io.Writer, reports ...*Report) error {
	return ladders(w, (*ladder.Ladder).Mermaid, reports)
}

// SVG writes the run's ladder alone, styles included.
func SVG(w io.Writer, r *Report) error { return r.ladder.SVG(w) }

func ladders(w io.Writer, write func(*ladder.Ladder, io.Writer) error, reports []*Report) error {
	for i, r := range reports {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if err := write(r.ladder, w); err != nil {
			return err
		}
	}
	return nil
}
