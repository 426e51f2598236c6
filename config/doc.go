// Package config turns the operator's TOML into a [Config]: clean types, defaults
// filled in, contradictions found. It owns the schema and nothing else; it starts
// nothing, watches nothing and does not log.
//
//	cfg, err := config.Load(config.DefaultPath, os.Stdin)
//	var problems config.Problems
//	if errors.As(err, &problems) {
//		for _, p := range problems {
//			fmt.Println(p) // vtepbgp.toml:12: vni[2].import_rt[0]: want ...
//		}
//	}
//
// The way of a file: viper reads it (load.go), document.go remembers on which
// line each key stands, decode.go fills the raw structs of raw.go, validate*.go
// turn raw into Config. No stage stops at the first problem: all of them are
// reported together, each with file, line, key path and what would be right.
// reference.toml is the commented reference of every key; tests hold it, the raw
// structs and docs/config.md together. render.go is the way back to TOML.
//
// Everything here is safe for concurrent use: there is no state.
package config
