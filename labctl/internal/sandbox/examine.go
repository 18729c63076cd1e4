package sandbox

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/runner"
)

// Examine finds out by trying what this machine can do for labs. The error is
// a *Refused when there can be no lab here.
func Examine() ([]runner.Finding, error) {
	var u unix.Utsname
	unix.Uname(&u) // cannot fail with a good address
	findings := []runner.Finding{{What: "Linux", OK: true, Why: "kernel " + unix.ByteSliceToString(u.Release[:])}}
	rootless := !privileged()
	how := runner.Finding{What: "privilege", OK: true, Why: "CAP_SYS_ADMIN and CAP_NET_ADMIN are here: labs need no user namespace"}
	if rootless {
		how.Why = fmt.Sprintf("none needed: labs run in a user namespace of user %d", os.Geteuid())
	}
	findings = append(findings, how)

	in, err := start(rootless, nil, "inside")
	if err != nil {
		why, _, _ := strings.Cut(err.Error(), "\n")
		return append(findings, runner.Finding{What: "namespaces", Why: why}), err
	}
	if err := in.tell(runner.Control{Examine: true}); err != nil {
		in.kill()
		return findings, err
	}
	lines := json.NewDecoder(in.journal)
	for {
		var f runner.Finding
		if err = lines.Decode(&f); err != nil {
			break
		}
		findings = append(findings, f)
		if f.Needed && !f.OK {
			defer in.kill()
			return findings, RefusedInside(f.Why)
		}
	}
	in.control.Close()
	exitErr := in.wait()
	if err != io.EOF {
		return findings, fmt.Errorf("read what the lab found: %w", err)
	}
	return findings, exitErr
}
