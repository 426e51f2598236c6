package config

import _ "embed"

// Reference is the commented reference file: every key, its default and what it
// does. It is a valid configuration.
//
//go:embed reference.toml
var Reference string
