package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/view"
)

// formats are the machine formats of a run or a report.
var formats = map[string]func(io.Writer, ...report.Document) error{
	"json": report.JSON, "junit": report.JUnit, "tap": report.TAP, "md": report.Markdown,
}

// running holds the flags that run and rerun share.
type running struct {
	folder, format string
	author         string
	join           *sandbox.Join
	jobs, repeat   int
	kernels        kernels
	verbose        bool
	given          func(flag string) bool
	hands          hands
}

func (r *running) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	r.given = f.Changed
	f.StringVar(&r.folder, "report", "", "`folder` of the report (default reports/NAME-TIME)")
	f.StringVar(&r.format, "format", "text", "what to print: text, json, junit, tap or md")
	f.IntVarP(&r.jobs, "jobs", "j", 0, "how many labs may live side by side (default: what the machine bears)")
	f.IntVar(&r.repeat, "repeat", 1, "play every lab so many times, and fail where the answers differ")
	f.StringVar(&r.author, "author", "", "`name` of whoever hands the report in")
	f.BoolVarP(&r.verbose, "verbose", "v", false, "show every system call and every changed socket table")
}

func (a *app) run() *cobra.Command {
	var r running
	var set, join []string
	cmd := &cobra.Command{
		Use:   "run SCENARIO... [-- COMMAND ARG...]",
		Short: "play scenarios and report what the kernel did",
		Long: `Run plays each scenario in a lab of its own and writes a report folder with
journal.jsonl, report.json, report.md, report.html and junit.xml.

A SCENARIO is a file, a folder of files, or the name of a shipped scenario. After
-- comes a server of your own, which takes the place of the program app.

With --join the hosts are not made: they are the network namespaces of processes
that run already, such as containers. That takes root. labctl changes no link,
address, setting or rule of theirs. An address that the scenario gives to a host
stands for the one that the host has.

With --kernel the lab is in a virtual machine with another kernel, one of "labctl
kernels list" or a file, and its clock jumps over idle time: a minute passes in a
second. host is this machine's own kernel.`,
		Example: `  labctl run scenarios/timewait.yaml
  labctl run timewait reuseaddr --report /tmp/lecture
  labctl run timewait --step --predict
  labctl run scenarios -j 16 --format junit >results.xml
  labctl run restart --set port=8080 -- ./my-server --listen :8080
  labctl run timewait --join server=4711,client=4712 --author "Ada Lovelace"
  labctl run timewait --kernel 6.12
  labctl run scenarios --kernel host,5.10,6.12`,
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, command := args, []string(nil)
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				names, command = args[:dash], args[dash:]
				if len(command) == 0 {
					return errors.New("after -- comes the command that runs your server")
				}
			}
			if err := r.kernels.check(cmd); err != nil {
				return err
			}
			if len(r.kernels.names) > 0 && len(join) > 0 {
				return errors.New("--kernel and --join: a guest with a kernel of its own has none of this machine's network namespaces")
			}
			if r.kernels.others() && r.hands.step {
				return errors.New("--kernel and --step: a guest with a kernel of its own plays a plan to its end, and nobody can hold it")
			}
			if len(names) == 0 {
				return errors.New("name a scenario: a file, a folder, or one of labctl list")
			}
			s, err := settings(set, command)
			if err != nil {
				return err
			}
			if len(join) > 0 {
				if r.join, err = joined(join); err != nil {
					return err
				}
				defer r.join.Close()
				s.Joined = r.join.Addresses()
			}
			items, err := load(names, s)
			if err != nil {
				return err
			}
			if labs := len(items[0].Labs); r.join != nil && (len(items) > 1 || labs > 1 || r.repeat > 1) {
				return errors.New("--join takes one scenario without a matrix, and plays it once: labs on the same hosts would disturb one another")
			}
			labs := 0
			for _, item := range items {
				labs += len(item.Labs)
			}
			if err := r.hands.check(labs * max(r.repeat, 1)); err != nil {
				return err
			}
			return a.campaign(items, r)
		},
	}
	r.flags(cmd)
	r.kernels.flags(cmd, "kernel", "`name,...` of other kernels to run on, or host")
	cmd.Flags().StringSliceVar(&join, "join", nil, "`HOST=PID,...`: hosts are the network namespaces of these processes")
	cmd.Flags().BoolVar(&r.hands.step, "step", false, "wait for Enter before each step; the lab is held, the kernel's timers are not")
	cmd.Flags().BoolVar(&r.hands.predict, "predict", false, "ask what each step will do, then show it, and keep the score in the report")
	cmd.Flags().StringArrayVar(&set, "set", nil, "`name=value` in place of the file's: port, or only this value of an axis of its matrix")
	return cmd
}

// campaign runs the items and shows them as the flags ask.
func (a *app) campaign(items []campaign.Item, r running) error {
	write := formats[r.format]
	if write == nil && r.format != "text" {
		return fmt.Errorf("--format %s: the formats are text, json, junit, tap and md", r.format)
	}
	if r.jobs < 1 && r.given("jobs") {
		return fmt.Errorf("--jobs %d: at least one lab lives at a time", r.jobs)
	}
	if r.repeat < 1 {
		return fmt.Errorf("--repeat %d: every lab is played at least once", r.repeat)
	}
	// A reader that goes away, as head does, must not end the lab: writing then
	// fails with EPIPE.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, stop := interruptible()
	defer stop()
	guests, err := r.kernels.open(ctx, a.say)
	if ctx.Err() != nil {
		a.code = campaign.Interrupted
		return nil
	}
	if err != nil {
		return err
	}
	items = r.kernels.on(items, guests)
	r.hands.begin(ctx, os.Stdin)
	show := &screen{stderr: a.stderr}
	out := a.stdout
	if write != nil {
		out = a.stderr
	}
	o := a.terminal(out)
	o.Verbose = r.verbose
	o.Animate = o.Animate && a.terminal(a.stderr).Animate
	switch labs := len(items[0].Labs) * r.repeat; {
	case len(items) > 1:
		show.display = manyRuns(out, o, items)
	case labs > 1 || len(items[0].Axes) > 0:
		show.display = oneStudy{view.NewStudy(out, o, labs)}
	default:
		show.display = oneLab{view.New(out, o), &r.hands}
	}
	options := campaign.Options{Folder: r.folder, Jobs: r.jobs, Repeat: r.repeat, Labctl: version(), Author: r.author, Join: r.join, Now: time.Now, Next: r.hands.next}
	if r.hands.predict {
		options.Predictions = r.hands.predictions
	}
	a.code = campaign.Run(ctx, items, options, show)
	err = show.close(show.index)
	if write != nil && len(show.documents) > 0 {
		err = errors.Join(err, write(a.stdout, show.documents...))
	}
	return written(err)
}
