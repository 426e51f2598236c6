package main

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/lab/figures"
)

func TestTargets(t *testing.T) {
	faster := metric{key: "x", unit: "ms", maxRatio: 0.7}
	want, verdict := faster.target(samples{"x": {70}}, samples{"x": {100}})
	assert.Equal(t, "≤ 0.70 ×", want)
	assert.Equal(t, "reached", verdict)
	_, verdict = faster.target(samples{"x": {71}}, samples{"x": {100}})
	assert.Equal(t, "missed", verdict)
	_, verdict = faster.target(samples{"x": {71}}, samples{})
	assert.Equal(t, "no comparison", verdict)

	none := metric{key: "lost", zero: true}
	_, verdict = none.target(samples{"lost": {0, 1, 0}}, samples{})
	assert.Equal(t, "missed", verdict, "one loss in one run is a loss")

	fast := metric{key: "x", unit: "ms", max: 3}
	want, verdict = fast.target(samples{}, samples{})
	assert.Equal(t, "≤ 3 ms", want)
	assert.Equal(t, "not measured", verdict)
}

func TestPeerCountsWhatItSends(t *testing.T) {
	s := newMACSet(3)
	r := routes{group: 3, first: 250, count: 250, vni: 100, nextHop: remoteVTEP, sequence: 7}
	read := func(b []byte) {
		for len(b) > 0 {
			l := int(b[16])<<8 | int(b[17])
			assert.LessOrEqual(t, l, 4096)
			s.read(b[bgpHeader:l])
			b = b[l:]
		}
	}
	read(r.appendAnnounce(nil))
	assert.Equal(t, 250, s.count)
	read(r.appendAnnounce(nil))
	assert.Equal(t, 250, s.count, "the same again adds nothing")
	read(r.appendWithdraw(nil))
	assert.Equal(t, 0, s.count)
	assert.Equal(t, 1, s.read(appendFlood(nil, remoteVTEP, 100)[bgpHeader:]))
}

func TestPartialRunKeepsOtherSections(t *testing.T) {
	first := []result{
		{reacting(), 3, map[string]samples{"vtepbgp": {"learn": {1}}}},
		{dying(), 3, map[string]samples{"vtepbgp": {"all": {50}}}},
	}
	doc := markdown(first, full, nil, "# Title\n\n## Flooding (`flood`, n = 3)\n\nanother program's\n\n## Notes\n\nby hand\n")
	again := markdown([]result{{dying(), 1, map[string]samples{"vtepbgp": {"all": {40}}}}}, full, nil, doc)
	assert.Equal(t, first[0].section(), "\n"+figures.Section(again, "learn"))
	assert.Contains(t, again, "| 40 ms |")
	assert.NotContains(t, again, "| 50 ms |")
	assert.Contains(t, again, "by hand")
	assert.Equal(t, "## Flooding (`flood`, n = 3)\n\nanother program's\n", figures.Section(again, "flood"))
}
