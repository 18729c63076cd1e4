package cli

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) validate() *cobra.Command {
	var set []string
	cmd := &cobra.Command{
		Use:               "validate SCENARIO...",
		Short:             "check scenario files without running them",
		Example:           "  labctl validate my-scenario.yaml\n  labctl validate scenarios",
		ValidArgsFunction: completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("name a scenario: a file, a folder, or one of labctl list")
			}
			s, err := settings(set, nil)
			if err != nil {
				return err
			}
			items, err := load(args, s)
			if err != nil {
				return err
			}
			for _, i := range items {
				steps := 0
				for _, lab := range i.Labs {
					steps += len(lab.Steps)
				}
				what := counted(steps, "step")
				if len(i.Axes) > 0 {
					what = counted(len(i.Labs), "cell") + ", " + what + " in all"
				}
				if _, err := fmt.Fprintf(a.stdout, "%s: ok, %s\n", i.File, what); err != nil {
					return written(err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "`name=value` in place of the file's: port, or only this value of an axis of its matrix")
	return cmd
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
