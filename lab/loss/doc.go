// Package loss measures what a network loses while something happens to it: streams of numbered
// packets between two hosts, in both directions, by UDP and by ping.
//
//	m, err := loss.Between(a, b)  // sockets are made in the hosts' namespaces
//	m.Begin()                     // what was sent before does not count
//	…
//	report := m.End()
package loss
