// Package cli is the command line of labctl: one file for each command, which
// turns flags into a call and its result into an exit code, and nothing else.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/guest"
	"restartlab/labctl/internal/runner"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/view"
)

// app is what the commands share.
type app struct {
	stdout, stderr *os.File
	code           int // the exit code of a command that did its work
}

// Main runs labctl and returns its exit code.
func Main(argv []string, stdout, stderr *os.File) int {
	if code, ok := Part(argv); ok {
		return code
	}
	a := &app{stdout: stdout, stderr: stderr}
	root := a.root()
	root.SetArgs(argv[1:])
	root.SetOut(stdout)
	root.SetErr(stderr)
	if err := root.Execute(); err != nil {
		message := strings.TrimRight(err.Error(), "\n")
		if problems := (scenario.Problems)(nil); !errors.As(err, &problems) {
			message = "labctl: " + message // problems begin with file:line:column, for editors
		}
		fmt.Fprintln(stderr, message)
		if code := new(exitError); errors.As(err, &code) {
			return max(code.code, a.code)
		}
		return campaign.Usage
	}
	return a.code
}

// Part runs the parts of a lab, which are this program started again. Test
// binaries call it first, since it is they that are started again there.
func Part(argv []string) (code int, ok bool) {
	if len(argv) < 2 {
		return 0, false
	}
	switch argv[1] {
	case "inside":
		return runner.Main(), true
	case guest.Argument:
		if os.Getpid() == 1 && argv[0] == "/init" { // labctl guest is nobody's command
			return runner.Guest(), true
		}
	case "agent":
		return agent.Main(), true
	}
	return 0, false
}

// exitError is an error with an exit code of its own. Any other is bad usage.
type exitError struct {
	code int
	error
}

func (e *exitError) Unwrap() error { return e.error }

// written is for an error of writing results: the work was done, but nobody can
// read of it.
func written(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{campaign.Impossible, fmt.Errorf("write the results: %w", err)}
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "labctl",
		Short: "What does the Linux kernel do with a port when the server on it restarts?",
		Long: `labctl makes isolated hosts, runs a real server and a real client on them, plays
restart scenarios written in YAML, watches the kernel, and reports socket states
and bind results.

Exit codes: 0 every expectation held, 1 one did not, 2 bad usage or a bad
scenario, 3 the lab could not be set up here, 130 interrupted.`,
		Example: `  labctl run timewait            # the article's experiment
  labctl list                    # what else there is
  labctl explain timewait        # why it happens`,
		SilenceErrors: true,
		SilenceUsage:  true,

		SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("unknown command %q%s; see labctl --help", args[0], suggestion(cmd, args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		said, _, _ := strings.Cut(err.Error(), ": strconv.") // what Go's parser calls it
		return fmt.Errorf("%s; see %s --help", said, cmd.CommandPath())
	})
	root.AddCommand(a.run(), a.validate(), a.list(), a.explain(), a.report(), a.diff(), a.compare(), a.rerun(),
		a.kernels(), a.server(), a.client(), a.why(), a.up(), a.exec(), a.down(), a.status(),
		a.watch(), a.doctor(), a.schema(), a.version())
	return root
}

// arguments wants exactly n arguments, which are what.
func arguments(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != n {
			return fmt.Errorf("%s takes %s; see %s --help", cmd.Name(), what, cmd.CommandPath())
		}
		return nil
	}
}

func suggestion(cmd *cobra.Command, word string) string {
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return fmt.Sprintf(" (did you mean %q?)", near[0])
	}
	return ""
}

// interruptible is a context that ends at the first Ctrl-C or signal to end. The
// second ends labctl at once; the kernel then ends the lab.
func interruptible() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // as nohup and a shell's "&" have it
			signal.Notify(signals, s)
		}
	}
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(campaign.Interrupted)
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

// terminal tells how to print for people on f.
func (a *app) terminal(f *os.File) view.Options { return view.Terminal(f) }
