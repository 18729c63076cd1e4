package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/study"
)

func (a *app) diff() *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "diff A B...",
		Short: "compare the answers of two runs or more",
		Long: `Diff compares what the kernel answered in A with what it answered in each of the
others, cell by cell and step by step, and says which facts of the machines differ.
Each is a report folder, a journal, or a table results.csv or results.json. Times and
the ports that the kernel picked are not compared.

It exits with 0 if the answers are the same, with 1 if any differs.`,
		Example: `  labctl diff reports/timewait-20260801-101500 reports/latest
  labctl diff monday/results.csv tuesday/results.csv --format json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) < 2 {
				return fmt.Errorf("diff takes two report folders or more, or their journals or tables")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			write := map[string]func(io.Writer, []report.Comparison) error{
				"text": report.DiffText, "json": report.DiffJSON, "html": report.DiffHTML}[format]
			if write == nil {
				return fmt.Errorf("--format %s: the formats are text, json and html", format)
			}
			tables := make([]*study.Table, len(args))
			for i, name := range args {
				var err error
				if tables[i], err = openTable(name); err != nil {
					return err
				}
			}
			var all []report.Comparison
			for i, t := range tables[1:] {
				d := study.Diff(tables[0], t)
				if d.Differ() {
					a.code = campaign.Failed
				}
				all = append(all, report.Comparison{A: args[0], B: args[i+1], Difference: d})
			}
			return written(write(a.stdout, all))
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "what to print: text, json or html")
	return cmd
}

// openTable reads the answers in a report folder, a journal or a table.
func openTable(name string) (*study.Table, error) {
	read := campaign.ReadTable
	switch filepath.Ext(name) {
	case ".csv":
		read = study.ReadCSV
	case ".json":
		read = study.ReadJSON
	default:
		f, err := openJournal(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		t, err := read(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		return t, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}
