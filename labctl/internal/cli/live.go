package cli

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"restartlab/labctl/internal/agent"
	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/live"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/view"
)

// labVariable names the report folder of a lab to those that run in it.
const labVariable = "LABCTL_LAB"

// bareLab is what labctl up builds without a scenario: two hosts. Its step is
// never played.
const bareLab = `name: lab
title: {en: A lab to type in, zh: 可以亲手操作的实验}
hosts:
  server: {}
  client: {}
steps:
  - netstat: server
`

func (a *app) up() *cobra.Command {
	var name, folder, author string
	var set []string
	cmd := &cobra.Command{
		Use:   "up [SCENARIO]",
		Short: "a lab that stays, to type in",
		Long: `Up builds the hosts of a scenario, or two bare ones, starts nothing on them, and
keeps them until Ctrl-C or labctl down. From other terminals, labctl exec runs
programs there, labctl watch shows the sockets and labctl status what is up.
Everything that is typed is recorded, and the end writes the same report as a run.

Several labs may be up at once, each with a name of its own. They are found by the
control socket in their report folder, which is their user's alone.`,
		Example: `  labctl up
  labctl up timewait --name lecture
  labctl exec server -- bash`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := settings(set, nil)
			if err != nil {
				return err
			}
			items := []campaign.Item{}
			if len(args) == 1 {
				items, err = load(args, s)
			} else {
				var bare *scenario.Scenario
				bare, err = scenario.Load("lab.yaml", []byte(bareLab), s)
				items = append(items, campaign.Item{Scenario: bare, File: "lab (built in)", Settings: s})
			}
			if err != nil {
				return err
			}
			if len(items) != 1 || len(items[0].Labs) != 1 {
				return errors.New("up builds one lab: name one scenario without a matrix, or pin its axes with --set")
			}
			if name != "" {
				if strings.ContainsAny(name, "/ ") || strings.HasPrefix(name, ".") {
					return fmt.Errorf("--name %s: a name without blanks, slashes and a leading dot", name)
				}
				renamed := *items[0].Scenario
				renamed.Name = name
				renamed.Labs = []scenario.Lab{renamed.Labs[0]}
				renamed.Labs[0].Name = name
				items[0].Scenario = &renamed
			}
			for _, l := range live.Find(campaign.Reports) {
				if l.Status.Name == items[0].Name {
					return fmt.Errorf("a lab named %s is up already, in %s; give this one another --name, or end that one: labctl down %s",
						items[0].Name, l.Folder, items[0].Name)
				}
			}
			return a.keep(items, campaign.Options{Folder: folder, Author: author})
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "`name` of the lab (default the scenario's, or lab)")
	f.StringVar(&folder, "report", "", "`folder` of the report (default reports/NAME-TIME)")
	f.StringVar(&author, "author", "", "`name` of whoever hands the report in")
	f.StringArrayVar(&set, "set", nil, "`name=value` in place of the file's: port, or an axis of a matrix")
	return cmd
}

// keep keeps the item's lab up and shows it.
func (a *app) keep(items []campaign.Item, o campaign.Options) error {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // as for a run
	ctx, stop := interruptible()
	defer stop()
	show := &liveScreen{app: a, view: view.NewLive(a.stdout, a.terminal(a.stdout))}
	show.view.Folder = o.Folder
	o.Live, o.Jobs, o.Labctl, o.Now = true, 1, version(), time.Now
	a.code = campaign.Run(ctx, items, o, show)
	return written(show.view.Err())
}

// liveScreen is a campaign.Show of a lab that stays.
type liveScreen struct {
	app  *app
	view *view.Live
}

func (s *liveScreen) Event(_ int, e journal.Event) { s.view.Add(e) }

// Listed is for several runs; this is one.
func (*liveScreen) Listed(string, error) {}

func (s *liveScreen) Done(_ int, d report.Document, folder string, err error) {
	if d != nil && folder != "" {
		s.view.Done(filepath.Join(folder, "report.html"))
	}
	if err != nil {
		fmt.Fprintln(s.app.stderr, "labctl:", strings.TrimRight(err.Error(), "\n"))
	}
}

// chosen is the report folder of the lab that is meant: by its name or folder, or
// by the variable, or the only one that is up here.
func chosen(name string) (string, error) {
	if name == "" {
		name = os.Getenv(labVariable)
	}
	if name != "" {
		if info, err := os.Stat(filepath.Join(name, live.SocketName)); err == nil && info.Mode()&os.ModeSocket != 0 {
			return name, nil
		}
	}
	labs := live.Find(campaign.Reports)
	var names []string
	for _, l := range labs {
		if name != "" && (l.Status.Name == name || filepath.Base(l.Folder) == filepath.Base(name)) {
			return l.Folder, nil
		}
		names = append(names, l.Status.Name)
	}
	var err error
	switch {
	case name == "" && len(labs) == 1:
		return labs[0].Folder, nil
	case len(labs) == 0 && name == "":
		err = fmt.Errorf("no lab is up in %s of this folder: labctl up starts one; of another folder's name its report folder with --lab", campaign.Reports)
	case len(labs) == 0:
		err = fmt.Errorf("no lab %s is up: it is neither a name in %s of this folder nor the report folder of a lab that is up", name, campaign.Reports)
	case name == "":
		err = fmt.Errorf("several labs are up: name one with --lab: %s", strings.Join(names, ", "))
	default:
		err = fmt.Errorf("no lab %s is up; there are: %s", name, strings.Join(names, ", "))
	}
	return "", &exitError{campaign.Impossible, err}
}

// labFlag lets the user say which lab is meant.
func labFlag(cmd *cobra.Command, lab *string) {
	cmd.Flags().StringVar(lab, "lab", "", "`name` of the lab or its report folder (default $"+labVariable+", or the only one that is up)")
}

func (a *app) exec() *cobra.Command {
	var lab string
	cmd := &cobra.Command{
		Use:   "exec HOST -- COMMAND [ARG...]",
		Short: "run a program on a host of a lab that is up",
		Long: `Exec runs a program on a host, in your folder and with your environment, as docker
exec -it does: on a terminal the program has one too, and keys, Ctrl-C among them,
go to it. In a pipe it reads and writes as any program does, and signals are handed on.

Without root the program has CAP_NET_RAW beside what you have, so that tcpdump and
ping work, and no other capability.

Exit codes: the program's own, or 128 and the number of the signal that ended it; 3
if it could not be started.`,
		Example: `  labctl exec server -- ./my-server
  labctl exec client -- bash
  labctl exec server -- tcpdump -ni eth0
  labctl exec --lab lecture server -- ss -tan`,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 1 && args[1] == "--":
				args = append(args[:1:1], args[2:]...)
			case len(args) > 1 && (args[1] == "--help" || args[1] == "-h"): // no command's name
				return cmd.Help()
			}
			if len(args) < 2 {
				return errors.New("exec takes a host and a command: labctl exec server -- bash")
			}
			folder, err := chosen(lab)
			if err != nil {
				return err
			}
			dir, err := os.Getwd()
			if err != nil {
				return fmt.Errorf("find out which folder this is: %w", err)
			}
			full, err := filepath.Abs(folder)
			if err != nil {
				return fmt.Errorf("find out which folder this is: %w", err)
			}
			env := agent.Override(os.Environ(), labVariable+"="+full)
			a.code, err = live.Run(folder, live.Exec{Host: args[0], Argv: args[1:], Env: env, Dir: dir}, os.Stdin, a.stdout, a.stderr)
			if err != nil {
				return &exitError{campaign.Impossible, err}
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false)
	labFlag(cmd, &lab)
	return cmd
}

func (a *app) down() *cobra.Command {
	return &cobra.Command{
		Use:   "down [LAB]",
		Short: "end a lab that is up, and write its report",
		Long: `Down ends the programs of a lab and lets its hosts go, as Ctrl-C where it was started
does, and returns when its report is written. LAB is its name or its report folder;
the only one that is up needs no name.`,
		Example: "  labctl down\n  labctl down lecture",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			folder, err := chosen(strings.Join(args, ""))
			if err != nil {
				return err
			}
			c, err := live.Dial(folder)
			if err == nil {
				defer c.Close()
				err = c.Down()
			}
			if err == nil {
				err = reported(folder)
			}
			if err != nil {
				return &exitError{campaign.Impossible, err}
			}
			_, err = fmt.Fprintf(a.stdout, "report: %s\n", filepath.Join(folder, "report.html"))
			return written(err)
		},
	}
}

// reported returns when the lab's report is written: until then its journal is
// locked.
func reported(folder string) error {
	f, err := os.Open(filepath.Join(folder, campaign.JournalFile))
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != unix.EINTR {
			return err
		}
	}
}

func (a *app) status() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "the labs that are up, and what runs in them",
		Long:    `Status lists the labs that are up in the folder reports, their hosts and what runs there.`,
		Example: "  labctl status\n  labctl status --json",
		Args:    arguments(0, "only flags"),
		RunE: func(*cobra.Command, []string) error {
			labs := live.Find(campaign.Reports)
			if asJSON {
				all := []*live.Status{}
				for _, l := range labs {
					all = append(all, l.Status)
				}
				return a.json(all)
			}
			if len(labs) == 0 {
				fmt.Fprintf(a.stderr, "no lab is up in %s of this folder\n", campaign.Reports)
				return nil
			}
			var shown []view.UpLab
			for _, l := range labs {
				up := view.UpLab{Name: l.Status.Name, Folder: l.Folder, Port: l.Status.Port, Since: l.Status.Since}
				for _, h := range l.Status.Hosts {
					var addresses []string
					for _, p := range h.Addresses {
						addresses = append(addresses, p.Addr().String())
					}
					up.Hosts = append(up.Hosts, view.UpHost{Name: h.Name, Addresses: strings.Join(addresses, " "), States: h.States})
				}
				for _, p := range l.Status.Programs {
					up.Programs = append(up.Programs, view.UpProgram(p))
				}
				shown = append(shown, up)
			}
			return written(view.Up(a.stdout, a.terminal(a.stdout), shown))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
