// Command vtepbgp is a BGP EVPN VTEP for Linux: the daemon ("vtepbgp run") and the
// commands that ask it.
//
// One file holds one command, made by a constructor that takes what it needs;
// there is no init and no package state. Commands write to the writers of the
// dependencies and return errors; [execute] alone turns an error into text and
// an exit code: 0 ok, 1 failure, 2 usage or bad configuration. The show commands
// have no source but the daemon's control socket (package api). table.go lays
// tables out to at most 100 columns, output.go knows the formats.
package main
