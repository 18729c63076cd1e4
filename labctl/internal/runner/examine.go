package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"restartlab/labctl/internal/netlab"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/sockdiag"
	"restartlab/labctl/internal/trace"
)

// Finding is something that a machine can or cannot do for labs.
type Finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Why  string `json:"why"`
	// Needed says that there is no lab without it.
	Needed bool `json:"needed,omitempty"`
}

// examine tries what labs need, for real, and writes each finding as a line. proc
// is why there is no /proc for them, nil if there is.
func examine(w io.Writer, proc error) error {
	out := json.NewEncoder(w)
	say := func(f Finding) error { return out.Encode(f) }
	own := Finding{What: "a /proc of the lab's own", OK: true, Needed: true, Why: "programs in a lab see only the lab's processes"}
	if comm, err := os.ReadFile("/proc/1/comm"); proc == nil && (err != nil || strings.TrimSpace(string(comm)) != selfName()) {
		proc = errors.New("it was mounted, and does not show the lab's first process")
	}
	if proc != nil {
		own.OK, own.Why = false, proc.Error()
		return say(own)
	}
	if err := netlab.Probe(); err != nil {
		return say(Finding{What: "two hosts and a link", Needed: true, Why: err.Error()})
	}
	findings := []Finding{{What: "two hosts and a link", OK: true, Needed: true, Why: "made a pair of namespaces with a veth link, and let it go"}, own}

	network, err := netlab.New([]scenario.Host{{Name: "probe"}})
	if err != nil {
		return err
	}
	defer network.Close()
	host := network.Host("probe")
	err = host.Do(func() error {
		diag, err := sockdiag.Open()
		if err != nil {
			findings = append(findings, Finding{What: "socket tables", Needed: true, Why: err.Error()})
			return nil
		}
		defer diag.Close()
		tables := Finding{What: "socket tables", OK: true, Needed: true, Why: "sock_diag answers for IPv4 and IPv6"}
		if _, err := diag.Table(0); err != nil {
			tables.OK, tables.Why = false, err.Error()
		}
		bound := Finding{What: "listing sockets that are only bound", OK: true, Why: "sock_diag lists them (Linux 6.8 and later)"}
		if missing := diag.Unlisted(); len(missing) > 0 {
			bound.OK, bound.Why = false, "this kernel cannot list "+strings.Join(missing, ", ")+" (Linux 6.8 and later can): a holder of that kind shows as unknown"
		}
		findings = append(findings, tables, bound)
		return nil
	})
	if err != nil {
		return err
	}

	const name = "net.ipv4.tcp_fin_timeout"
	write := Finding{What: "kernel settings of a host", OK: true, Why: "wrote " + name + " and read it back"}
	if now, err := host.SetSysctl(name, "30"); err != nil {
		write.OK, write.Why = false, err.Error()
	} else if now != "30" {
		write.OK, write.Why = false, fmt.Sprintf("wrote 30 to %s and read %s", name, now)
	}
	users := Finding{What: "programs of another user", OK: os.Geteuid() == 0, Why: "running as root"}
	if !users.OK {
		users.Why = "without root a lab has only your own user: exec with user needs sudo"
	}
	states := Finding{What: "state changes as the kernel makes them", OK: true, Why: "loaded the programs that observe sockets, and let them go"}
	if tracer, err := trace.Open(0); err != nil {
		states.OK, states.Why = false, err.Error()+"; they are inferred from segments, calls and socket tables"
	} else if err := tracer.Close(); err != nil {
		return err
	}
	for _, f := range append(findings, write, users, states) {
		if err := say(f); err != nil {
			return err
		}
	}
	return nil
}

// selfName is what the kernel calls this process.
func selfName() string {
	comm, _ := os.ReadFile("/proc/self/comm")
	return strings.TrimSpace(string(comm))
}
