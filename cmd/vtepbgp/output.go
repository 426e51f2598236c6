package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// choice is a flag that takes one of a few words.
type choice struct {
	value   *string
	allowed []string
}

func newChoice(value *string, absent string, allowed ...string) *choice {
	*value = absent
	return &choice{value, allowed}
}

func (c *choice) String() string { return *c.value }
func (c *choice) Type() string   { return "word" }
func (c *choice) Set(s string) error {
	if !slices.Contains(c.allowed, s) {
		return fmt.Errorf("want %s", strings.Join(c.allowed, " | "))
	}
	*c.value = s
	return nil
}

func addChoice(cmd *cobra.Command, c *choice, name, short, usage string) {
	cmd.Flags().VarP(c, name, short, usage)
	complete(cmd, name, func(*cobra.Command) []string { return c.allowed })
}

// complete offers words for a flag.
func complete(cmd *cobra.Command, flag string, words func(*cobra.Command) []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, // fails only for a flag that does not exist
		func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
			return words(cmd), cobra.ShellCompDirectiveNoFileComp
		})
}

// format is the output format that every show command offers.
type format struct {
	output string
	json   bool
}

// addFlags adds -o and --json; people is the name of the format for people.
func (f *format) addFlags(cmd *cobra.Command, people string) {
	addChoice(cmd, newChoice(&f.output, people, people, "json"), "output", "o", "output `FORMAT`: "+people+" | json")
	cmd.Flags().BoolVar(&f.json, "json", false, "the same as -o json")
}

func (f *format) isJSON() bool { return f.json || f.output == "json" }

func writeJSON(w io.Writer, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	_, err = fmt.Fprintf(w, "%s\n", text)
	return err
}

// jsonList writes an array element by element, so that long lists are never held
// as one document.
type jsonList struct {
	w     io.Writer
	count int
}

func (l *jsonList) add(v any) error {
	text, err := json.MarshalIndent(v, "  ", "  ")
	if err != nil {
		return fmt.Errorf("encode output: %w", err)
	}
	separator := ",\n  "
	if l.count == 0 {
		separator = "[\n  "
	}
	l.count++
	_, err = fmt.Fprintf(l.w, "%s%s", separator, text)
	return err
}

func (l *jsonList) close() error {
	end := "\n]\n"
	if l.count == 0 {
		end = "[]\n"
	}
	_, err := io.WriteString(l.w, end)
	return err
}
