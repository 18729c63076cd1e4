package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/study"
)

func (a *app) compare() *cobra.Command {
	var k kernels
	var folder, format string
	cmd := &cobra.Command{
		Use:   "compare --kernels NAME,NAME... SCENARIO...",
		Short: "what kernels answer differently",
		Long: `Compare plays each scenario on each kernel, and prints one table of all that they
answered differently, by step and by cell. The kernels are those of "labctl kernels
list", or files; host is this machine's own. Times and the ports that the kernel
picked are not compared.

It exits with 0 if the answers are the same, with 1 if any differs.`,
		Example: `  labctl compare --kernels host,5.10,6.1,6.12 scenarios
  labctl compare --kernels 6.1,6.12 timewait --format html >kernels.html`,
		ValidArgsFunction: completeScenarios,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := k.check(cmd); err != nil {
				return err
			}
			if len(k.names) < 2 {
				return errors.New("--kernels: name two or more, such as host,6.12; see labctl kernels list")
			}
			if len(args) == 0 {
				return errors.New("name a scenario: a file, a folder, or one of labctl list")
			}
			write := map[string]func(io.Writer, *report.Compared) error{
				"text": report.CompareText, "json": report.CompareJSON, "html": report.CompareHTML}[format]
			if write == nil {
				return fmt.Errorf("--format %s: the formats are text, json and html", format)
			}
			items, err := load(args, scenario.Settings{})
			if err != nil {
				return err
			}
			c, err := a.onEach(items, &k, folder)
			if err != nil || c == nil {
				return err
			}
			return written(write(a.stdout, c))
		},
	}
	k.flags(cmd, "kernels", "`name,...` of the kernels, or host")
	cmd.Flags().StringVar(&folder, "report", "", "`folder` of the runs' reports (default: reports/NAME-TIME for each)")
	cmd.Flags().StringVar(&format, "format", "text", "what to print: text, json or html")
	return cmd
}

// onEach plays the items on each kernel and compares the answers; nil if that was
// interrupted or could not be done, which the exit code then tells.
func (a *app) onEach(items []campaign.Item, k *kernels, folder string) (*report.Compared, error) {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // as in campaign
	ctx, stop := interruptible()
	defer stop()
	guests, err := k.open(ctx, a.say)
	if ctx.Err() != nil {
		a.code = campaign.Interrupted
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := k.on(items, guests)
	show := &kept{screen: screen{stderr: a.stderr, display: manyRuns(a.stderr, a.terminal(a.stderr), all)}, folders: make([]string, len(all))}
	a.code = campaign.Run(ctx, all, campaign.Options{Folder: folder, Labctl: version(), Now: time.Now}, show)
	if folder == "" {
		folder = campaign.Reports
	}
	if err := show.close(folder); err != nil {
		return nil, written(err)
	}
	if a.code == campaign.Interrupted || a.code == campaign.Impossible {
		return nil, nil
	}
	c := &report.Compared{Kernels: k.names}
	for i, item := range items {
		var tables []*study.Table
		for n := range k.names {
			t, err := openTable(filepath.Join(show.folders[i*len(k.names)+n], campaign.JournalFile))
			if err != nil {
				return nil, &exitError{campaign.Impossible, err}
			}
			tables = append(tables, t)
		}
		c.Add(item.Name, tables)
	}
	a.code = campaign.OK
	if c.Differ() {
		a.code = campaign.Failed
	}
	return c, nil
}

// kept is a screen that keeps the folders of the reports.
type kept struct {
	screen
	folders []string
}

func (s *kept) Done(run int, d report.Document, folder string, err error) {
	s.folders[run] = folder
	s.screen.Done(run, d, folder, err)
}
