// Package once proves that flooded frames arrive exactly once: every host of a network sends numbered
// frames (broadcast, multicast and unknown unicast in turn), and every host counts what it hears of each.
//
//	m, err := once.Open(stations)  // packet sockets in the hosts' namespaces
//	defer m.Close()
//	m.Start(5 * time.Millisecond)  // each station, one frame each time
//	…
//	report := m.Stop()             // after the last frames have arrived
//	err = report.Err()             // nil: each frame once at every other host, never back at its own
package once
