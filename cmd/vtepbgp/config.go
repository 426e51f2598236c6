package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/config"
)

func newConfigCommand(d dependencies) *cobra.Command {
	return newGroup("config", "Check, show and explain the configuration",
		"Check, show and explain the configuration. These commands do not need a daemon.",
		newConfigCheckCommand(), newConfigShowCommand(d), newConfigExampleCommand())
}

func addConfigFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", config.DefaultPath, `configuration `+"`FILE`"+`; "-" is standard input`)
	_ = cmd.MarkFlagFilename("config", "toml") // fails only for a flag that does not exist
}

func newConfigCheckCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Report all problems of a configuration",
		Long: `Report all problems of a configuration, each with file, line, key and what would
be right: the main file and every file of vni.d beside it. The exit code is 2 when
there are any.`,
		Example: `  vtepbgp config check
  vtepbgp config check -c new.toml && mv new.toml /etc/vtepbgp/vtepbgp.toml && vtepbgp reload`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, cmd.InOrStdin())
			if err != nil {
				return err
			}
			name := path
			if name == config.Stdin {
				name = "standard input"
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: ok (%s, %s)\n", name,
				plural(len(cfg.Neighbors), "neighbour"), plural(len(cfg.VNIs), "VNI"))
			return err
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}

func newConfigShowCommand(d dependencies) *cobra.Command {
	var path string
	var f format
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Print the values in effect, defaults included",
		Long: `Print the values in effect: defaults filled in, "auto" targets resolved, all files
in one. The output is a configuration itself, but for passwords, which are never
printed.`,
		Example: `  vtepbgp config show
  vtepbgp config show -c new.toml -o json | jq .bgp`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(path, cmd.InOrStdin())
			if err != nil {
				return err
			}
			if f.isJSON() {
				return writeJSON(cmd.OutOrStdout(), cfg)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), cfg.TOML())
			return err
		},
	}
	addConfigFlag(cmd, &path)
	f.addFlags(cmd, "toml")
	return cmd
}

func newConfigExampleCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "example",
		Short:   "Print the commented reference configuration",
		Long:    "Print the commented reference configuration: every key, its default, what it does.\nIt is valid as it stands.",
		Example: "  vtepbgp config example > /etc/vtepbgp/vtepbgp.toml",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), config.Reference)
			return err
		},
	}
}
