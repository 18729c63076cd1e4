package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/scenario"
)

// openJournal opens a journal named by its file or its report folder.
func openJournal(name string) (*os.File, error) {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		if one, _ := filepath.Glob(filepath.Join(name, "*", campaign.JournalFile)); len(one) > 0 && report.IsIndex(filepath.Join(name, campaign.IndexFile)) {
			return nil, fmt.Errorf("%s: the reports of several runs; name one of them, such as %s", name, filepath.Dir(one[0]))
		}
		name = filepath.Join(name, campaign.JournalFile)
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a file; name a report folder or its %s", name, campaign.JournalFile)
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no such journal; name a report folder or its %s", name, campaign.JournalFile)
	}
	return f, err
}

func (a *app) report() *cobra.Command {
	var folder, format, svg, lab string
	cmd := &cobra.Command{
		Use:   "report JOURNAL",
		Short: "render the reports of a run again from its journal",
		Long: `Report renders report.json, report.md, report.html and junit.xml from a journal
alone, also from that of a run that was killed. The same journal gives the same
bytes.

The ladder, the picture of the run, is in report.html and report.md. By itself it
comes as text, as a Mermaid sequence diagram, or with --svg as a drawing for a
slide.`,
		Example: `  labctl report reports/latest
  labctl report old.jsonl --report /tmp/old
  labctl report reports/latest --format json | jq .binds
  labctl report reports/latest --format text
  labctl report reports/latest --svg ladder.svg`,
		Args: arguments(1, "a report folder or its journal"),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := openJournal(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			if format != "" || svg != "" || lab != "" {
				return a.one(f, format, svg, lab)
			}
			if folder == "" {
				folder = filepath.Dir(f.Name())
			}
			if err := os.MkdirAll(folder, 0o777); err != nil {
				return fmt.Errorf("make the report folder: %w", err)
			}
			r, err := campaign.Render(f, folder)
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name(), err)
			}
			fmt.Fprintf(a.stdout, "%s\n%s\n", r.Outcome(), filepath.Join(folder, "report.html"))
			return nil
		},
	}
	cmd.Flags().StringVar(&folder, "report", "", "`folder` of the report (default beside the journal)")
	cmd.Flags().StringVar(&format, "format", "", "print it instead: json, junit, tap, md, text or mermaid")
	cmd.Flags().StringVar(&lab, "cell", "", "of a run of many labs, the one of this `name` alone")
	cmd.Flags().StringVar(&svg, "svg", "", "write the ladder alone to this `file`, - for the output")
	return cmd
}

// pictures are the formats of one lab that a run does not have.
var pictures = map[string]func(io.Writer, ...*report.Report) error{"text": report.Text, "mermaid": report.Mermaid}

// one prints a report in one format, writes its ladder to a file, or both. lab
// names one lab of a study.
func (a *app) one(f *os.File, format, svg, lab string) error {
	if format == "" && svg == "" {
		format = "text"
	}
	if format != "" && formats[format] == nil && pictures[format] == nil {
		return fmt.Errorf("--format %s: the formats are json, junit, tap, md, text and mermaid", format)
	}
	var d report.Document
	var err error
	if lab == "" {
		d, err = campaign.Read(f)
	} else {
		d, err = campaign.ReadCell(f, lab)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	r, single := d.(*report.Report)
	if !single && (svg != "" || pictures[format] != nil) {
		return fmt.Errorf("%s: this run has many labs and a picture shows one; name it with --cell, such as --cell %q", f.Name(), d.(*report.Study).Rows[0].Cell)
	}
	if svg == "-" {
		if err := report.SVG(a.stdout, r); err != nil {
			return written(err)
		}
	} else if svg != "" {
		var b bytes.Buffer
		if err := report.SVG(&b, r); err != nil {
			return fmt.Errorf("draw the ladder: %w", err)
		}
		if err := os.WriteFile(svg, b.Bytes(), 0o666); err != nil {
			return fmt.Errorf("write the ladder: %w", err)
		}
	}
	switch {
	case pictures[format] != nil:
		return written(pictures[format](a.stdout, r))
	case formats[format] != nil:
		return written(formats[format](a.stdout, d))
	}
	return nil
}

func (a *app) rerun() *cobra.Command {
	var r running
	cmd := &cobra.Command{
		Use:   "rerun REPORT",
		Short: "repeat the run of a report",
		Long: `Rerun plays the scenario that a report's journal carries, with the same settings,
and writes a new report. It needs no file but the journal.`,
		Example: "  labctl rerun reports/latest\n  labctl rerun old.jsonl --report /tmp/again",
		Args:    arguments(1, "a report folder or its journal"),
		RunE: func(_ *cobra.Command, args []string) error {
			f, err := openJournal(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			events, err := journal.ReadAll(f)
			if err != nil && len(events) == 0 {
				return fmt.Errorf("%s: %w", f.Name(), err)
			}
			s := events[0].Header.Scenario
			if s.Live {
				return fmt.Errorf("%s: of a lab that programs were started in by hand: there are no steps to repeat; labctl up builds such a lab", f.Name())
			}
			if len(s.Joined) > 0 {
				return fmt.Errorf("%s: its hosts were there before the run (--join), and other processes have their numbers now: name them in a new labctl run --join", f.Name())
			}
			if r.kernels, err = again(events[0].Header); err != nil {
				return &exitError{campaign.Impossible, err}
			}
			set := scenario.Settings{Set: s.Set, Command: s.Command}
			loaded, err := scenario.Load(s.File, []byte(s.Text), set)
			if err != nil {
				return err
			}
			if loaded.Digest != s.Digest {
				return fmt.Errorf("%s: its scenario was changed: the header says %s, the text has %s", f.Name(), s.Digest, loaded.Digest)
			}
			return a.campaign([]campaign.Item{{Scenario: loaded, File: s.File, Settings: set}}, r)
		},
	}
	r.flags(cmd)
	return cmd
}
