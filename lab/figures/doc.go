// Package figures puts measured numbers into words, tables and docs/performance.md, for
// the benches: each program replaces its own sections there and keeps all others.
package figures
