package evpn

// RouteCount is how many received routes of one type share one fate.
type RouteCount struct {
	Type   RouteType
	Reason Reason // empty: in use
}

// RouteCounts counts the received routes by type and fate. It looks at every
// route, without putting them in order.
func (c *Core) RouteCounts() map[RouteCount]int {
	counts := map[RouteCount]int{}
	for _, nb := range c.neighbors {
		for _, p := range nb.paths {
			counts[RouteCount{Type: p.Key.Type, Reason: p.reason()}]++
		}
	}
	return counts
}

// VTEPCount is the number of remote VTEPs that MAC rows point to or flood lists have.
func (c *Core) VTEPCount() (n int) {
	for _, t := range c.vteps {
		if t.rows > 0 {
			n++
		}
	}
	return n
}
