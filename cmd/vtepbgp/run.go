package main

import (
	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/daemon"
)

func newRunCommand(d dependencies) *cobra.Command {
	var opts daemon.Options
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground, as a service manager wants it.

SIGTERM and SIGINT stop it. With graceful restart on, forwarding stays in place
for the next start; --flush-on-exit removes what it wrote to the kernel. SIGHUP
reads the configuration again and applies what differs, as "vtepbgp reload" does.
It needs CAP_NET_ADMIN, and CAP_NET_BIND_SERVICE for port 179.`,
		Example: `  vtepbgp run
  vtepbgp run -c ./vtepbgp.toml --log-level debug
  vtepbgp config example | vtepbgp run -c -`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Stdin = cmd.InOrStdin()
			opts.Version = d.version
			return daemon.Run(cmd.Context(), opts)
		},
	}
	addConfigFlag(cmd, &opts.ConfigPath)
	cmd.Flags().StringVar(&opts.PIDFile, "pidfile", "", "write the process id to this `FILE`, and remove it at the end")
	level := newChoice(&opts.LogLevel, "", "debug", "info", "warn", "error")
	addChoice(cmd, level, "log-level", "", "log from this `LEVEL` on, whatever the configuration says: debug | info | warn | error")
	cmd.Flags().BoolVar(&opts.FlushOnExit, "flush-on-exit", false, "remove what we wrote to the kernel when told to stop")
	cmd.Flags().StringVar(&opts.Record, "record", "", "record to this `FILE` from the very start, for \"vtepbgp replay\"; .gz compresses, an earlier one becomes FILE.old")
	return cmd
}
