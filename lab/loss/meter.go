package loss

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Intervals between packets.
const (
	pingEvery     = 10 * time.Millisecond
	datagramEvery = time.Millisecond
)

// Meter runs four streams between two hosts: UDP and ping, there and back.
type Meter struct{ streams []*stream }

// Report is what they suffered, in this order.
type Report struct{ Datagrams, DatagramsBack, Pings, PingsBack Result }

// Between starts the streams.
func Between(a, b Host) (*Meter, error) {
	m := &Meter{}
	var errs []error
	for _, s := range []struct {
		open     func(from, to Host) (endpoint, error)
		from, to Host
		every    time.Duration
	}{
		{newDatagrams, a, b, datagramEvery}, {newDatagrams, b, a, datagramEvery}, {newEchoes, a, b, pingEvery}, {newEchoes, b, a, pingEvery},
	} {
		ends, err := s.open(s.from, s.to)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		m.streams = append(m.streams, startStream(ends, s.every))
	}
	if len(errs) > 0 {
		m.stop()
		return nil, errors.Join(errs...)
	}
	return m, nil
}

// Begin lets count what is sent from now on.
func (m *Meter) Begin() {
	for _, s := range m.streams {
		s.begin()
	}
}

// End stops the streams and counts.
func (m *Meter) End() Report {
	r := m.stop()
	return Report{r[0], r[1], r[2], r[3]}
}

func (m *Meter) stop() (results []Result) {
	for _, s := range m.streams {
		s.finish()
	}
	for _, s := range m.streams {
		results = append(results, s.end())
	}
	return results
}

func (r Report) all() []Result {
	return []Result{r.Datagrams, r.DatagramsBack, r.Pings, r.PingsBack}
}

// Lost is the sum over all streams.
func (r Report) Lost() (n int) {
	for _, s := range r.all() {
		n += s.Lost
	}
	return n
}

// Outage is the longest of all streams.
func (r Report) Outage() (d time.Duration) {
	for _, s := range r.all() {
		d = max(d, s.Outage)
	}
	return d
}

// Until is when the last of their longest outages ended.
func (r Report) Until() (d time.Duration) {
	for _, s := range r.all() {
		d = max(d, s.Until)
	}
	return d
}

// String is a table.
func (r Report) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tsent\tlost\tgaps\tduplicated\treordered\toutage\tlongest delay")
	for i, s := range r.all() {
		name := []string{"udp", "udp back", "ping", "ping back"}[i]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", name, s.Sent, s.Lost, s.Gaps, s.Duplicated, s.Reordered,
			s.Outage.Round(time.Millisecond), s.Delay.Round(time.Millisecond))
	}
	_ = w.Flush()
	return b.String()
}
