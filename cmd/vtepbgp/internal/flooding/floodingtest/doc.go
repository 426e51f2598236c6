// Package floodingtest has engines for tests that copy nothing but behave as real ones do:
// what copies without a process outlives it, two on one interface copy twice, and who is
// closed says so.
package floodingtest
