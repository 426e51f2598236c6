package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// socketVariable is the environment variable that names the daemon's socket.
const socketVariable = "VTEPBGP_SOCKET"

// completionTimeout bounds how long a shell waits for words from the daemon.
const completionTimeout = time.Second

// asking is what all commands that ask a daemon have in common.
type asking struct {
	deps   dependencies
	socket string
}

func (a *asking) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.socket, "socket", "", "the daemon's unix socket `PATH` (default $"+socketVariable+", else "+api.DefaultSocket+")")
}

func (a *asking) client() *api.Client {
	socket := a.socket
	if socket == "" {
		socket = a.deps.getenv(socketVariable)
	}
	if socket == "" {
		socket = api.DefaultSocket
	}
	return api.NewClient(socket)
}

// colour reports whether output may be coloured (https://no-color.org).
func (a *asking) colour(cmd *cobra.Command) bool {
	return a.deps.getenv("NO_COLOR") == "" && a.deps.getenv("TERM") != "dumb" && a.deps.isTerminal(cmd.OutOrStdout())
}

// showing is what all show commands have in common.
type showing struct {
	asking
	format
}

func newShowing(d dependencies) *showing { return &showing{asking: asking{deps: d}} }

func (s *showing) addFlags(cmd *cobra.Command) {
	s.format.addFlags(cmd, "table")
	s.asking.addFlags(cmd)
}

// list prints values as JSON or as a table; none is said instead of an empty table.
func list[T any](s *showing, cmd *cobra.Command, values []T, none string, tabulate func([]T) *table) error {
	if s.isJSON() {
		l := jsonList{w: cmd.OutOrStdout()}
		for _, v := range values {
			if err := l.add(v); err != nil {
				return err
			}
		}
		return l.close()
	}
	if len(values) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), none)
		return err
	}
	return tabulate(values).write(cmd.OutOrStdout(), s.colour(cmd))
}

// textFlag reads a flag of any type that knows its text form.
type textFlag[T any] struct {
	value *T
	parse func(string) (T, error)
	text  string
}

func (f *textFlag[T]) String() string { return f.text }
func (f *textFlag[T]) Type() string   { return "value" }
func (f *textFlag[T]) Set(s string) error {
	v, err := f.parse(s)
	if err != nil {
		return err
	}
	*f.value, f.text = v, s
	return nil
}

func addressFlag(cmd *cobra.Command, value *netip.Addr, name, usage string) {
	cmd.Flags().Var(&textFlag[netip.Addr]{value: value, parse: parseAddress}, name, usage)
}

func parseAddress(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return a, fmt.Errorf("want an IPv4 or IPv6 address, got %q", s)
	}
	return a.Unmap(), nil
}

func macFlag(cmd *cobra.Command, value *evpn.MAC, usage string) {
	cmd.Flags().Var(&textFlag[evpn.MAC]{value: value, parse: evpn.ParseMAC}, "mac", usage)
}

// durationFlag reads how long a command runs.
func durationFlag(cmd *cobra.Command, value *time.Duration, usage string) {
	cmd.Flags().Var(&textFlag[time.Duration]{value: value, parse: parseDuration}, "duration", usage)
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("want a time such as 30s, 5m or 1h, got %q", s)
	}
	return d, nil
}

func (a *asking) vniFlag(cmd *cobra.Command, value *evpn.VNI, usage string) {
	cmd.Flags().Var(&textFlag[evpn.VNI]{value: value, parse: evpn.ParseVNI}, "vni", usage)
	complete(cmd, "vni", a.vniWords)
}

// vniWords offers the VNIs of the daemon to the shell; none when it does not answer.
func (a *asking) vniWords(cmd *cobra.Command) []string {
	ctx, cancel := completionContext(cmd)
	defer cancel()
	vnis, err := a.client().VNIs(ctx, api.VNIFilter{})
	if err != nil {
		return nil
	}
	var words []string
	for _, v := range vnis {
		words = append(words, fmt.Sprintf("%s\t%s on %s, %s", v.VNI, v.Device, v.Bridge, v.State))
	}
	return words
}

// neighborWords offers the neighbours of the daemon to the shell.
func (a *asking) neighborWords(cmd *cobra.Command) []string {
	ctx, cancel := completionContext(cmd)
	defer cancel()
	neighbors, err := a.client().Neighbors(ctx)
	if err != nil {
		return nil
	}
	var words []string
	for _, n := range neighbors {
		words = append(words, fmt.Sprintf("%s\t%s %s", n.Address, n.State, n.Description))
	}
	return words
}

func completionContext(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	return context.WithTimeout(ctx, completionTimeout)
}

// completeArgument offers words for the first argument.
func completeArgument(words func(*cobra.Command) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(cmd), cobra.ShellCompDirectiveNoFileComp
	}
}
