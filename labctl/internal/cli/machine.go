package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/report"
	"restartlab/labctl/internal/sandbox"
	"restartlab/labctl/internal/view"
	"restartlab/scenarios"
)

func (a *app) doctor() *cobra.Command {
	return &cobra.Command{
		Use:     "doctor",
		Short:   "what this machine can do for labs, and why not",
		Example: "  labctl doctor",
		Args:    arguments(0, "only flags"),
		RunE: func(*cobra.Command, []string) error {
			findings, err := sandbox.Examine()
			var checks []view.Check
			for _, f := range findings {
				checks = append(checks, view.Check{Name: f.What, OK: f.OK, Why: f.Why})
			}
			if printErr := view.Checks(a.stdout, a.terminal(a.stdout), checks); printErr != nil {
				return written(printErr)
			}
			if err != nil {
				return &exitError{campaign.Impossible, err}
			}
			return nil
		},
	}
}

func (a *app) schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [scenario|report]",
		Short: "the JSON Schema of scenario files or of report.json",
		Long: `Schema prints the JSON Schema of scenario files, for an editor to check and
complete them by, or of report.json.`,
		Example:   "  labctl schema >schema.json\n  labctl schema report",
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"scenario", "report"},
		RunE: func(_ *cobra.Command, args []string) error {
			text := scenarios.Schema
			if len(args) == 1 && args[0] == "report" {
				var err error
				if text, err = report.Schema(); err != nil {
					return err
				}
			}
			_, err := a.stdout.Write(text)
			return written(err)
		},
	}
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "the version of labctl",
		Example: "  labctl version",
		Args:    arguments(0, "only flags"),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "labctl %s (%s, %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return written(err)
		},
	}
}

// built is the version that the linker was given, where the build itself cannot
// know it: in an image, which is built without the repository's history.
var built string

// version is the module's version, or the commit that this program was built
// from, as far as the build recorded it.
func version() string {
	if built != "" {
		return built
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if revision == "" {
		return "devel"
	}
	return "devel-" + revision + changed
}
