package runner

import (
	"net/netip"
	"slices"
	"strings"

	"restartlab/labctl/internal/journal"
)

// dockerResolver is where Docker listens in the namespace of each container, to
// answer for names.
var dockerResolver = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// ownRows leaves out of the tables of joined hosts what is neither the lab's nor
// any program's there: Docker's resolver. tellOfBefore has told of it.
func (l *lab) ownRows(rows []journal.Socket) []journal.Socket {
	if l.joined == nil {
		return rows
	}
	return slices.DeleteFunc(slices.Clone(rows), isResolver)
}

func isResolver(s journal.Socket) bool {
	return s.State == "LISTEN" && s.Local.Addr() == dockerResolver
}

// tellOfBefore notes what on joined hosts could be taken for the lab's doing:
// sockets that have its port already.
func (l *lab) tellOfBefore() {
	if l.joined == nil {
		return
	}
	l.tell("the hosts were there before: labctl changes no link, address, setting or rule of theirs, and sockets that the kernel keeps, such as TIME_WAIT, stay when the run ends")
	for _, h := range l.plan.Hosts {
		rows, err := l.diag[h.Name].Table(0)
		if err != nil {
			l.tell("which sockets host %s had before is not known: %v", h.Name, err)
		}
		var before []string
		for _, r := range rows {
			if r.Local.Port() == l.plan.Port {
				before = append(before, strings.TrimSpace(r.State+" "+r.Local.String()))
			}
		}
		if len(before) > 0 {
			l.tell("host %s has sockets on port %d that are not the lab's: %s; expectations count them too, so wait until they are gone or choose a free port with --set port=N",
				h.Name, l.plan.Port, strings.Join(before, ", "))
		}
		if slices.ContainsFunc(rows, isResolver) {
			l.tell("host %s is a container with Docker's resolver, which listens at %s; its tables leave that out", h.Name, dockerResolver)
		}
	}
}
