package runner

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/scenario"
)

// lacking says what a lab needs that this machine, kernel or user has not. Such a lab
// is skipped: whatever it showed would not be an answer.
type lacking struct{ what string }

func (l *lacking) Error() string { return l.what }

// lack is the reason to skip a lab that ended with err, empty if that is none.
func lack(err error) string {
	if missing := (*lacking)(nil); errors.As(err, &missing) {
		return missing.what
	}
	if missing := (*netlab.Unavailable)(nil); errors.As(err, &missing) {
		return missing.Error()
	}
	return ""
}

// needsUsers refuses programs of other users to an inside that cannot start any.
func (l *lab) needsUsers() error {
	if os.Geteuid() == 0 {
		return nil
	}
	check := func(name string, uid *uint32) error {
		if uid == nil || int(*uid) == os.Geteuid() {
			return nil
		}
		return &lacking{fmt.Sprintf("%s runs as uid %d: without root a lab has only your own user (uid %d); run labctl as root (sudo)", name, *uid, os.Geteuid())}
	}
	for _, p := range l.plan.Programs {
		if err := check(p.Name, p.UID); err != nil {
			return err
		}
	}
	for _, s := range l.plan.Sockets {
		if err := check(s.Name, s.UID); err != nil {
			return err
		}
	}
	return nil
}

// needsBound refuses a lab that must see bound sockets to a kernel that does not list
// them.
func (l *lab) needsBound() error {
	for _, h := range l.plan.Hosts {
		diag := l.diag[h.Name]
		if diag == nil || !slices.Contains(diag.Unlisted(), "BOUND") {
			continue
		}
		for _, s := range l.plan.Steps {
			bound := s.Hold == "BOUND"
			if s.Expect != nil {
				bound = bound || s.Expect.Holders["BOUND"] != nil
			}
			if bound {
				return &lacking{fmt.Sprintf("step %s must see a socket that is only bound, and this kernel does not list those (Linux 6.8 and later do)", s.ID)}
			}
		}
	}
	return nil
}

// counts reports whether a step's expectation counts what the kernel refuses.
func counts(e *scenario.Expect) bool { return e.NamesFailure() || e != nil && e.Any }
