package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func (a *app) validate() *cobra.Command {
	var set []string
	cmd := &cobra.Command{
		Use:               "validate SCENARIO...",
		Short:             "check scenario files without running them",
		Example:           "  labctl validate my-scenario.yaml\n  labctl validate scenarios",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeScenarios,
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := settings(set, nil)
			if err != nil {
				return err
			}
			items, err := load(args, s)
			if err != nil {
				return err
			}
			for _, i := range items {
				fmt.Fprintf(a.stdout, "%s: ok, %d steps\n", i.File, len(i.Lab.Steps))
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&set, "set", nil, "`name=value` in place of the file's: port")
	return cmd
}
