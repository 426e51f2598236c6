package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newReloadCommand(d dependencies) *cobra.Command {
	a := &asking{deps: d}
	var f format
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the daemon read its configuration again",
		Long: `Make the daemon read its configuration again and apply what differs. A
configuration with problems changes nothing: they are printed, and the exit code
is 2.`,
		Example: "  vtepbgp config check && vtepbgp reload",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			result, err := a.client().Reload(cmd.Context())
			if err != nil {
				return err
			}
			if f.isJSON() {
				return writeJSON(cmd.OutOrStdout(), result)
			}
			lines := "Nothing changed.\n"
			if len(result.Changed) > 0 {
				lines = ""
			}
			for _, change := range result.Changed {
				lines += printable(change) + "\n"
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), lines)
			return err
		},
	}
	f.addFlags(cmd, "table")
	a.addFlags(cmd)
	return cmd
}
