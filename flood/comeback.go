package flood

import "sync/atomic"

// Comeback notices that an interface was up, went down and is up again, which engines count as a
// repair. Looks alone would miss one that is down for less than the time between two.
type Comeback struct {
	fell atomic.Bool
	been bool // up, at some look
}

// Down is told when the kernel says that the interface is down. It may be called from any goroutine.
func (c *Comeback) Down() { c.fell.Store(true) }

// Look is told how the interface is, by one goroutine at a time, and says whether it has come back.
func (c *Comeback) Look(up bool) bool {
	if !up {
		c.Down()
		return false
	}
	back := c.fell.Swap(false) && c.been
	c.been = true
	return back
}
