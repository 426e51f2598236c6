//go:build lab

package lab_test

import (
	"testing"
)

// VTEPs without a daemon reach each other by their group, and nobody else: what the labs are built upon.
func TestFloodStageLegacy(t *testing.T) {
	t.Parallel()
	for _, family := range []int{4, 6} {
		st := floodStage{family: family, rr: kindVTEPBGP, players: []floodPlayer{
			{name: "l1", kind: kindLegacy, segment: 1}, {name: "l2", kind: kindLegacy, segment: 1},
			{name: "v1", kind: kindVTEPBGP}, {name: "v2", kind: kindVTEPBGP},
		}}
		f := st.build(t)
		f.exactlyOnce("l1", "l2")
		f.exactlyOnce("v1", "v2")
		f.truth("l1", "l2")
		report := f.meter.Send(3, 1)
		t.Log(report)
	}
}
