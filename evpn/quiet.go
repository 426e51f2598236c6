package evpn

import "time"

// quietTime is how long a neighbour that promised no End-of-RIB has to send no route until
// it counts as one that has sent all it has. FRR sends the marker only to those that restart
// gracefully (8.4), and whoever restarts without grace has no rows to keep for it.
const quietTime = 5 * time.Second

// quiet waits for such a neighbour to have sent its table.
type quiet struct {
	nb   *neighbor
	at   time.Time // when it is looked at; zero when there is nothing to wait for
	last time.Time // it sent routes since
}

func (q *quiet) due() time.Time { return q.at }

// over is when it is complete should nothing more come; zero when there is no wait.
func (q *quiet) over() time.Time {
	if t := q.last.Add(quietTime); !q.at.IsZero() && t.After(q.at) {
		return t
	}
	return q.at
}

func (q *quiet) begin(c *Core) { q.until(c, c.now.Add(quietTime)) }

func (q *quiet) until(c *Core, t time.Time) {
	q.at, q.last = t, time.Time{}
	c.startTimer(q)
}

func (q *quiet) end() { q.at, q.last = time.Time{}, time.Time{} }

// heard notes that routes came. The timer stays as it is: a table comes in thousands of
// pieces.
func (q *quiet) heard(now time.Time) {
	if !q.at.IsZero() {
		q.last = now
	}
}

func (q *quiet) ring(c *Core) {
	if t := q.over(); t.After(c.now) {
		q.until(c, t)
		return
	}
	q.end()
	q.nb.complete = true
	c.checkSynced()
}
