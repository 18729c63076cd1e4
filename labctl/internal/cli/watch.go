package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/live"
	"restartlab/labctl/internal/sockdiag"
	"restartlab/labctl/internal/view"
)

// tables is the socket table of a host, to be read as often as one likes.
type tables interface {
	Table(port uint16) ([]journal.Socket, error)
	Unlisted() []string
}

// shortestInterval keeps a slip of the keyboard from making a load.
const shortestInterval = 10 * time.Millisecond

func (a *app) watch() *cobra.Command {
	var port int
	var once bool
	var lab string
	what := view.Watched{Title: "TCP sockets of this network namespace"}
	cmd := &cobra.Command{
		Use:   "watch [HOST]",
		Short: "the socket table where you are or of a lab's host, again and again",
		Long: `Watch shows the TCP sockets of the network namespace that it runs in, or of a HOST
of a lab that is up, in the columns of netstat -ant and one more with the kernel's timers: TIME_WAIT counts down.
The kernel is asked anew each time, and what has changed is marked. It needs no
privilege. In a pipe a table is printed when something has changed.`,
		Example: `  labctl watch                    # until Ctrl-C
  labctl watch server             # of a lab that is up
  labctl watch --port 12500 --once
  labctl watch --once --port 12500 --state LISTEN   # a health check`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if port < 0 || port > 65535 {
				return fmt.Errorf("--port %d: ports are 1 to 65535", port)
			}
			if what.Every < shortestInterval {
				return fmt.Errorf("--interval %s: at least %s", what.Every, shortestInterval)
			}
			if what.State = strings.ToUpper(what.State); what.State != "" && !slices.Contains(sockdiag.States(), what.State) {
				return fmt.Errorf("--state %s: the states are %s", what.State, strings.Join(sockdiag.States(), ", "))
			}
			what.Port = uint16(port)
			diag, closer, err := sockets(args, lab, &what)
			if err != nil {
				return err
			}
			defer closer.Close()
			if once {
				return a.table(diag, what)
			}
			ctx, stop := interruptible()
			defer stop()
			return a.follow(ctx, diag, what)
		},
	}
	f := cmd.Flags()
	f.IntVar(&port, "port", 0, "only sockets with this port, local or foreign")
	f.StringVar(&what.State, "state", "", "only sockets in this `state`, such as LISTEN; with --once the exit code is 1 if there is none")
	f.BoolVar(&once, "once", false, "print the table once and end")
	labFlag(cmd, &lab)
	f.DurationVar(&what.Every, "interval", 500*time.Millisecond, "from one reading to the next")
	return cmd
}

// sockets is the table of the host that is named, or of the namespace that this is.
func sockets(host []string, lab string, what *view.Watched) (tables, io.Closer, error) {
	if len(host) == 0 {
		diag, err := sockdiag.Open()
		if err != nil {
			return nil, nil, &exitError{campaign.Impossible, err}
		}
		return diag, diag, nil
	}
	folder, err := chosen(lab)
	if err != nil {
		return nil, nil, err
	}
	c, err := live.Dial(folder)
	if err != nil {
		return nil, nil, &exitError{campaign.Impossible, err}
	}
	what.Title = "TCP sockets of " + host[0]
	t := c.Tables(host[0])
	if _, err := t.Table(0); err != nil { // no such host
		c.Close()
		return nil, nil, &exitError{campaign.Impossible, err}
	}
	return t, c, nil
}

// read is one reading. Of both ends' ports the kernel can be asked for the local
// one alone, so all sockets are read, and picked from later.
func read(t tables) view.Reading {
	rows, err := t.Table(0)
	return view.Reading{At: time.Now(), Rows: rows, Unlisted: t.Unlisted(), Err: err}
}

// table prints a table once. One with rows missing is no success.
func (a *app) table(t tables, what view.Watched) error {
	r := read(t)
	if err := view.Table(a.stdout, a.terminal(a.stdout), what, r); err != nil {
		return written(err)
	}
	if r.Err != nil {
		return &exitError{campaign.Impossible, r.Err}
	}
	if what.State != "" && !what.Any(r) {
		a.code = campaign.Failed
	}
	return nil
}

// follow shows a table until ctx is done, which is how watching ends.
func (a *app) follow(ctx context.Context, t tables, what view.Watched) error {
	w := view.NewWatch(a.stdout, a.terminal(a.stdout), what)
	tick := time.NewTicker(what.Every)
	defer tick.Stop()
	for {
		r := read(t)
		if errors.Is(r.Err, live.ErrGone) { // it went down: there is no more to watch
			fmt.Fprintln(a.stderr, "labctl:", r.Err)
			return nil
		}
		w.Add(r)
		if err := w.Err(); err != nil {
			return written(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
