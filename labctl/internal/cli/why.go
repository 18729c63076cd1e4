package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/explain"
	"restartlab/labctl/internal/occupant"
	"restartlab/labctl/internal/view"
)

// lookAgain is the time between two looks of why --watch: the kernel tells nobody
// that a port is free.
const lookAgain = 200 * time.Millisecond

// taken is the exit code of why for a port on which a bind would fail.
const taken = 1

func (a *app) why() *cobra.Command {
	var q occupant.Query
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "why [PORT|ADDRESS:PORT]",
		Short: "who holds this port here, and would a bind fail?",
		Long: `Why looks at a port of this machine: every socket that would conflict with a bind
to it, without options and with SO_REUSEADDR or SO_REUSEPORT, over IPv4 and IPv6;
the processes that have them open; and what to do. Without an argument it lists
every port that is taken.

It needs no lab and no privilege, but shows the processes of other users, and other
network namespaces (containers), to root alone. It binds nothing and sends nothing.

Exit codes: 0 the port is free, 1 a bind without an option would fail.`,
		Example: `  labctl why 8080
  labctl why 127.0.0.1:5432
  labctl why [::1]:80 --json
  labctl why 12500 --watch && ./my-server`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 {
				var err error
				if q.Address, q.Port, err = target(args[0]); err != nil {
					return err
				}
			} else if watch {
				return fmt.Errorf("--watch waits for one port: name it")
			}
			l, err := occupant.Open()
			if err != nil {
				return &exitError{campaign.Impossible, err}
			}
			defer l.Close()
			switch {
			case q.Port == 0:
				return a.whyAll(l, q, asJSON)
			case watch:
				return a.whyWatch(l, q, asJSON)
			}
			answer, err := look(l, q)
			if err != nil {
				return err
			}
			return a.whyOne(answer, asJSON)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&q.UDP, "udp", false, "look at UDP instead of TCP")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	f.BoolVar(&watch, "watch", false, "wait until the port is free")
	return cmd
}

// target reads PORT, ADDRESS:PORT or [ADDRESS]:PORT.
func target(text string) (address netip.Addr, port uint16, err error) {
	if n, err := strconv.ParseUint(text, 10, 16); err == nil && n > 0 {
		return address, uint16(n), nil
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 {
		return address, 0, fmt.Errorf("%s: write a port (1 to 65535), ADDRESS:PORT or [IPV6]:PORT", text)
	}
	if at.Addr().Zone() != "" {
		return address, 0, fmt.Errorf("%s: addresses with a zone are not supported", text)
	}
	return at.Addr(), at.Port(), nil
}

func look(l *occupant.Looker, q occupant.Query) (*explain.Answer, error) {
	p, err := l.Port(q)
	if err != nil {
		return nil, &exitError{campaign.Impossible, err}
	}
	return p.Judge(), nil
}

func (a *app) whyOne(answer *explain.Answer, asJSON bool) error {
	if !answer.Free {
		a.code = taken
	}
	if asJSON {
		return a.json(answer)
	}
	return written(view.Why(a.stdout, a.terminal(a.stdout), answer))
}

func (a *app) json(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return written(e.Encode(v))
}

func (a *app) whyAll(l *occupant.Looker, q occupant.Query, asJSON bool) error {
	ports, err := l.Ports(q)
	if err != nil {
		return &exitError{campaign.Impossible, err}
	}
	answers := []*explain.Answer{}
	for _, p := range ports {
		answers = append(answers, p.Judge())
	}
	if asJSON {
		return a.json(answers)
	}
	return written(view.WhyAll(a.stdout, a.terminal(a.stdout), answers))
}

// whyWatch looks until the port is free, or until Ctrl-C.
func (a *app) whyWatch(l *occupant.Looker, q occupant.Query, asJSON bool) error {
	ctx, stop := interruptible()
	defer stop()
	w := view.NewWaiting(a.stderr, a.terminal(a.stderr))
	answer, err := until(ctx, l, q, w)
	if closeErr := w.Close(); err == nil && closeErr != nil {
		return written(closeErr)
	}
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		a.code = campaign.Interrupted
		return nil
	}
	return a.whyOne(answer, asJSON)
}

func until(ctx context.Context, l *occupant.Looker, q occupant.Query, w *view.Waiting) (*explain.Answer, error) {
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		answer, err := look(l, q)
		if err != nil || answer.Free {
			return answer, err
		}
		w.Add(answer)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return answer, nil
		}
	}
}
