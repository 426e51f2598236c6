// Package api is the control interface of a running vtepbgp: the JSON types, the
// HTTP server on the daemon's unix socket, and the client that the commands use.
//
// It decides nothing. The server asks a [Backend] (the daemon) and writes what it
// gets; lists that can be long (MACs, routes) go out element by element, so that
// 100,000 of them are never held as one document on either side. Paths carry the
// version; keys are snake_case and only ever added to; lists are sorted arrays and
// never null; an address that does not apply is the empty string.
//
//	GET  /v1/status /v1/neighbors /v1/vnis /v1/macs /v1/vteps /v1/flood /v1/routes
//	GET  /v1/monitor /v1/record (JSON lines, until either side ends them)
//	POST /v1/reload /v1/neighbors/{address}/reset /v1/macs/clear-duplicate
//
// [Server.ReadOnly] serves the first line alone and is what `api.metrics_listen` offers.
// Server and client are safe for concurrent use.
package api
