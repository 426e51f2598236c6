package bfd

// SetPorts makes a watcher use other ports than the standard's, for tests beside others.
func (w *Watcher) SetPorts(singleHop, multihop int) { w.ports = [2]int{singleHop, multihop} }
