package tcpstate

import "slices"

// The states, as in journal.Socket. closed is no socket any more, or none yet.
const (
	closed      = "CLOSE"
	listening   = "LISTEN"
	synSent     = "SYN_SENT"
	synRecv     = "SYN_RECV"
	established = "ESTABLISHED"
	finWait1    = "FIN_WAIT1"
	finWait2    = "FIN_WAIT2"
	closeWait   = "CLOSE_WAIT"
	closing     = "CLOSING"
	lastAck     = "LAST_ACK"
	timeWait    = "TIME_WAIT"
)

// arrows are the transitions of RFC 9293, 3.3.2, as far as Linux makes them: a
// listener stays, and its child is born in its place. Any state can end at once,
// by a reset, by a timer or with its process.
var arrows = map[string][]string{
	closed:      {listening, synSent},
	listening:   {synRecv, closed},
	synSent:     {established, synRecv, closed},
	synRecv:     {established, finWait1, closed},
	established: {finWait1, closeWait, closed},
	finWait1:    {finWait2, closing, timeWait, closed},
	finWait2:    {timeWait, closed},
	closeWait:   {lastAck, closed},
	closing:     {timeWait, closed},
	lastAck:     {closed},
	timeWait:    {closed},
}

// leads reports whether there is a way from one state to another without an end.
func leads(from, to string) bool {
	for _, next := range arrows[from] {
		if next != closed && (next == to || leads(next, to)) {
			return true
		}
	}
	return false
}

// event is what moves a connection on, apart from its own FIN.
type event int

const (
	opened event = iota // the handshake is complete
	acked               // the peer has acknowledged the FIN
	finned              // the peer's FIN is taken in
)

// then is the state after an event, empty where it has no place.
func (e event) then(state string) string {
	switch {
	case e == opened && (state == synSent || state == synRecv):
		return established
	case e == acked && state == finWait1:
		return finWait2
	case e == acked && state == closing:
		return timeWait
	case e == acked && state == lastAck:
		return closed
	case e == finned && state == established:
		return closeWait
	case e == finned && state == finWait1:
		return closing
	case e == finned && state == finWait2:
		return timeWait
	}
	return ""
}

// shows reports whether a connection in a state has had an event.
func shows(state string, e event) bool {
	switch e {
	case opened:
		return !slices.Contains([]string{closed, listening, synSent, synRecv}, state)
	case acked:
		return state == finWait2 || state == timeWait
	default:
		return slices.Contains([]string{closeWait, lastAck, closing, timeWait}, state)
	}
}
