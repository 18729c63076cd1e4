package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/campaign"
	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/view"
	"restartlab/scenarios"
)

func (a *app) list() *cobra.Command {
	var lang string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "the shipped scenarios, their questions, and how they went last",
		Long: `List names the shipped scenarios with the questions that they answer. A mark before
the name is the verdict of the newest report in the folder reports.`,
		Example: "  labctl list",
		Args:    arguments(0, "only flags"),
		RunE: func(*cobra.Command, []string) error {
			if err := language(lang); err != nil {
				return err
			}
			items, err := load(scenarios.Order, scenario.Settings{})
			if err != nil {
				return err
			}
			last := campaign.LastRuns()
			var rows []view.Row
			for _, i := range items {
				rows = append(rows, view.Row{Name: i.Name, Text: inLanguage(i.Title, lang), Verdict: last[i.Name].Verdict})
			}
			return written(view.List(a.stdout, a.terminal(a.stdout), rows))
		},
	}
	cmd.Flags().StringVar(&lang, "lang", userLanguage(), "en or zh")
	return cmd
}

func (a *app) explain() *cobra.Command {
	var lang string
	cmd := &cobra.Command{
		Use:               "explain SCENARIO",
		Short:             "the lesson of a scenario: the answer to its question",
		Example:           "  labctl explain timewait\n  labctl explain timewait --lang zh",
		Args:              arguments(1, "a scenario: a file, or one of labctl list"),
		ValidArgsFunction: completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := language(lang); err != nil {
				return err
			}
			items, err := load(args, scenario.Settings{})
			if err != nil {
				return err
			}
			for _, i := range items {
				lesson := inLanguage(i.Lesson, lang)
				if lesson == "" {
					lesson = "(this scenario has no lesson)"
				}
				if err := view.Prose(a.stdout, a.terminal(a.stdout), inLanguage(i.Title, lang), lesson); err != nil {
					return written(err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&lang, "lang", userLanguage(), "en or zh")
	return cmd
}

func language(lang string) error {
	if lang != "en" && lang != "zh" {
		return fmt.Errorf("--lang %s: titles and lessons are in en and zh", lang)
	}
	return nil
}

// userLanguage is zh for a Chinese locale, else en (locale(7)).
func userLanguage() string {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			if strings.HasPrefix(v, "zh") {
				return "zh"
			}
			return "en"
		}
	}
	return "en"
}

func inLanguage(t journal.Text, lang string) string {
	if lang == "zh" && t.ZH != "" {
		return t.ZH
	}
	return t.EN
}
