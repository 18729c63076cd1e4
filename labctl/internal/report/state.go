package report

import (
	"fmt"

	"restartlab/labctl/internal/journal"
)

// stateText says what became of a socket, as in "192.168.44.144:12500 ->
// 192.168.44.145:40112 goes FIN_WAIT2 -> TIME_WAIT (due at +61.440 s)". What is
// not the kernel's own word says whose it is.
func stateText(s *journal.State) string {
	text := s.Local.String()
	if s.Remote.IsValid() {
		text += " -> " + s.Remote.String()
	}
	text += fmt.Sprintf(" goes %s -> %s", s.From, s.To)
	switch s.Why {
	case "":
	case "timer":
		text += ", its time being over"
	case "reset":
		text += ", by the peer's RST"
	case "reused":
		text += ", a new connection takes its place"
	case "killed":
		text += ", before its time"
	default:
		text += ", " + s.Why
	}
	if s.Due != 0 {
		text += fmt.Sprintf(" (due at %s)", clock(s.Due))
	}
	switch s.Source {
	case journal.SourceDiag:
		text += " (seen in the socket table: it was before)"
	case journal.SourceInferred:
		text += " (inferred)"
	}
	return text
}

// resetText says what the kernel did with an RST, as in "192.168.44.144:12500 ->
// 192.168.44.145:40112 sends an RST (NO_SOCKET), there is no socket".
func resetText(r *journal.Reset) string {
	text := r.Local.String()
	if r.Remote.IsValid() {
		text += " -> " + r.Remote.String()
	}
	if !r.Sent {
		return text + " takes an RST in " + r.State
	}
	text += " sends an RST"
	if r.Reason != "" {
		text += " (" + r.Reason + ")"
	}
	switch r.State {
	case "":
		return text + ", there is no socket"
	case "CLOSE":
		return text + ", the socket being closed"
	}
	return text + " in " + r.State
}

// lossText says what is missing.
func lossText(l *journal.Loss) string {
	return fmt.Sprintf("%s of the observer %s are lost", count(l.Count, "event"), l.Observer)
}
