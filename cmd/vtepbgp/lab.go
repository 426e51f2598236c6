package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/lab"
)

func newLabCommand() *cobra.Command {
	return newGroup("lab", "Run containerlab topologies in network namespaces",
		`Run containerlab topologies (*.clab.yml) without a container engine: each node is a
set of namespaces on this machine, with this very program inside. They need root.`,
		newLabUpCommand(), newLabDownCommand(), newLabExecCommand(), newLabShowCommand())
}

func newLabUpCommand() *cobra.Command {
	var opts lab.Options
	var quiet bool
	cmd := &cobra.Command{
		Use:     "up FILE.clab.yml",
		Short:   "Bring a topology up",
		Long:    "Bring a topology up. When it fails half-way nothing is left behind.",
		Example: "  vtepbgp lab up containerlab/demo.clab.yml",
		Args:    topologyArgument, ValidArgsFunction: completeTopology,
		RunE: func(cmd *cobra.Command, args []string) error {
			topology, err := lab.Load(args[0])
			if err != nil {
				return err
			}
			if !quiet {
				opts.Progress = cmd.ErrOrStderr()
			}
			up, err := topology.Up(cmd.Context(), opts)
			if err != nil {
				return err
			}
			nodes, err := up.Nodes()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "lab %s is up: %s\n", up.Name(), plural(len(nodes), "node"))
			return err
		},
	}
	cmd.Flags().StringVar(&opts.Binary, "binary", "", "the vtepbgp `FILE` that the nodes run (default: this program)")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "print no progress")
	return cmd
}

func newLabDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "down FILE.clab.yml",
		Short:   "Take a topology down",
		Long:    "Take a topology down: processes, links and namespaces. It is no error when it is\nnot up.",
		Example: "  vtepbgp lab down containerlab/demo.clab.yml",
		Args:    topologyArgument, ValidArgsFunction: completeTopology,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := lab.NameOf(args[0])
			if err != nil {
				return err
			}
			running, err := lab.Open(name, "")
			if errors.Is(err, lab.ErrNotRunning) {
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "lab %s is not up\n", name)
				return err
			}
			if err != nil {
				return err
			}
			if err := running.Down(cmd.Context()); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "lab %s is down\n", name)
			return err
		},
	}
}

func newLabExecCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exec FILE.clab.yml NODE [--] COMMAND [ARGUMENT…]",
		Short: "Run a command in a node",
		Long:  "Run a command in a node. The exit code is that of the command.",
		Example: `  vtepbgp lab exec containerlab/demo.clab.yml h1 ping -c3 192.168.100.2
  vtepbgp lab exec containerlab/demo.clab.yml vtep1 -- vtepbgp neighbor show --json`,
		Args: execArguments, ValidArgsFunction: completeNode,
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			running, err := openLab(args[0])
			if err != nil {
				return err
			}
			argv := args[2:]
			if argv[0] == "--" { // stays in args behind a positional argument
				argv = argv[1:]
			}
			code, err := running.Exec(cmd.Context(), args[1], argv,
				lab.Stdio{In: stdinOf(cmd), Out: cmd.OutOrStdout(), Err: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			if code != 0 {
				return exitError(code)
			}
			return nil
		},
	}
	cmd.Flags().SetInterspersed(false) // flags of the command belong to it, with or without "--"
	return cmd
}

// stdinOf hands a file on as a file, so that programs find their terminal.
func stdinOf(cmd *cobra.Command) io.Reader {
	if f, ok := cmd.InOrStdin().(*os.File); ok {
		return f
	}
	return cmd.InOrStdin()
}

// openLab finds the running lab of a topology file.
func openLab(file string) (*lab.Lab, error) {
	name, err := lab.NameOf(file)
	if err != nil {
		return nil, err
	}
	running, err := lab.Open(name, "")
	if errors.Is(err, lab.ErrNotRunning) {
		return nil, fmt.Errorf("lab %s is not up: start it with \"vtepbgp lab up %s\"", name, file)
	}
	return running, err
}

func newLabShowCommand() *cobra.Command {
	var f format
	cmd := &cobra.Command{
		Use:     "show FILE.clab.yml",
		Short:   "Show the nodes of a topology that is up",
		Long:    "Show the nodes of a topology that is up: what runs, where, with which addresses.",
		Example: "  vtepbgp lab show containerlab/demo.clab.yml",
		Args:    topologyArgument, ValidArgsFunction: completeTopology,
		RunE: func(cmd *cobra.Command, args []string) error {
			running, err := openLab(args[0])
			if err != nil {
				return err
			}
			nodes, err := running.Nodes()
			if err != nil {
				return err
			}
			if f.isJSON() {
				return writeJSON(cmd.OutOrStdout(), nodes)
			}
			return labTable(nodes).write(cmd.OutOrStdout(), false)
		},
	}
	f.addFlags(cmd, "table")
	return cmd
}

func labTable(nodes []lab.NodeStatus) *table {
	t := newTable(column{name: "NODE"}, column{name: "ROLE"}, column{name: "STATE"}, column{name: "PID", right: true},
		column{name: "NAMESPACE", kind: moving}, column{name: "INTERFACES", kind: remark})
	for _, n := range nodes {
		var interfaces []string
		for _, i := range n.Addresses {
			interfaces = append(interfaces, strings.TrimSpace(i.Name+" "+joinShown(i.Addresses, " ")))
		}
		pid := ""
		if n.PID != 0 {
			pid = fmt.Sprint(n.PID)
		}
		t.row(n.Name, n.Role, n.State, pid, n.Namespace, strings.Join(interfaces, ", "))
	}
	return t
}

func topologyArgument(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one topology file, such as containerlab/demo.clab.yml")
	}
	return nil
}

func execArguments(_ *cobra.Command, args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("want a topology file, a node and a command")
	}
	return nil
}

func completeTopology(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"clab.yml", "clab.yaml"}, cobra.ShellCompDirectiveFilterFileExt
}

func completeNode(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	if len(args) != 1 {
		return completeTopology(cmd, args, word)
	}
	topology, err := lab.Load(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, n := range topology.Nodes {
		names = append(names, n.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
