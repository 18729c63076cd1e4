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
				steps := "1 step"
				if n := len(i.Labs[0].Steps); n != 1 {
					steps = fmt.Sprintf("%d steps", n)
				}
				if _, err := fmt.Fprintf(a.stdout, "%s: ok, %s\n", i.File, steps); err != nil {
					return written(err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "`name=value` in place of the file's: port")
	return cmd
}
