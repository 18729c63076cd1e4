package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"restartlab/labctl/internal/journal"
	"restartlab/labctl/internal/scenario"
	"restartlab/labctl/internal/view"
)

func (a *app) list() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "the shipped scenarios and their questions",
		Example: "  labctl list",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			items, err := load(shippedNames(), scenario.Settings{})
			if err != nil {
				return err
			}
			var rows []view.Row
			for _, i := range items {
				rows = append(rows, view.Row{Name: i.Name, Text: inLanguage(i.Title, userLanguage())})
			}
			return written(view.List(a.stdout, a.terminal(a.stdout), rows))
		},
	}
}

func (a *app) explain() *cobra.Command {
	var lang string
	cmd := &cobra.Command{
		Use:               "explain SCENARIO",
		Short:             "the lesson of a scenario: the answer to its question",
		Example:           "  labctl explain timewait\n  labctl explain timewait --lang zh",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			if lang != "en" && lang != "zh" {
				return fmt.Errorf("--lang %s: lessons are in en and zh", lang)
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
