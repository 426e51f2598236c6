package evpn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// tell plays lines of the scenario language and gives the core.
func tell(t *testing.T, story string) *evpn.Core {
	s := newScenario(t)
	require.NoError(t, s.play([]byte(story)))
	return s.core
}

const fabric = `
vtep 10.0.0.1
vni 100
up 100
`

func verdicts(x evpn.Explanation) []evpn.Verdict {
	var vs []evpn.Verdict
	for _, c := range x.Candidates {
		vs = append(vs, c.Verdict)
	}
	return vs
}

// TestExplainElection: the winner comes first, the others tell what decided, with operands.
func TestExplainElection(t *testing.T) {
	c := tell(t, fabric+`
route 10.0.0.254 mac 10.0.0.2:2 02:00:00:00:00:01 vni 100 nh 10.0.0.2 rt 65000:100 seq 5
route 10.0.0.254 mac 10.0.0.3:2 02:00:00:00:00:01 vni 100 nh 10.0.0.3 rt 65000:100 seq 3
route 10.0.0.254 mac 10.0.0.4:2 02:00:00:00:00:01 vni 100 nh 10.0.0.4 rt 65000:100 seq 5
route 10.0.0.253 mac 10.0.0.2:2 02:00:00:00:00:01 vni 100 nh 10.0.0.2 rt 65000:100 seq 5 lp 50
route 10.0.0.254 mac 10.0.0.5:2 02:00:00:00:00:01 vni 100 nh 10.0.0.5 rt 65000:200 seq 9
`)
	x, ok := c.Explain(100, mac1)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginRemote, x.Origin)
	assert.Equal(t, vtep2, x.VTEP)
	assert.Equal(t, []evpn.Verdict{
		{},
		{Reason: evpn.LosesElection, By: evpn.ByLocalPref, Mine: "50", Theirs: "100"},
		{Reason: evpn.LosesElection, By: evpn.ByNextHop, Mine: "10.0.0.4", Theirs: "10.0.0.2"},
		{Reason: evpn.LosesElection, By: evpn.BySequence, Mine: "3", Theirs: "5"},
		{Reason: evpn.NoImportMatch},
	}, verdicts(x))
	require.Len(t, x.Rows, 1)
	_, ok = c.Explain(100, evpn.MAC{2, 9})
	assert.False(t, ok)
	_, ok = c.Explain(200, mac1)
	assert.False(t, ok)
}

// TestExplainLocal: a local MAC shows its claim, its IPs and own routes, and why routes lose to it.
func TestExplainLocal(t *testing.T) {
	c := tell(t, fabric+`
route 10.0.0.254 mac 10.0.0.2:2 02:00:00:00:00:01 vni 100 nh 10.0.0.2 rt 65000:100 seq 1
local-mac 100 02:00:00:00:00:01 veth1
local-ip 100 192.0.2.1 02:00:00:00:00:01
`)
	x, ok := c.Explain(100, mac1)
	require.True(t, ok)
	assert.Equal(t, evpn.OriginLocal, x.Origin)
	require.NotNil(t, x.Local)
	assert.Equal(t, "veth1", x.Local.Port)
	assert.Equal(t, uint32(2), x.Local.Sequence)
	assert.Len(t, x.Own, 2)
	assert.Equal(t, []evpn.Verdict{{Reason: evpn.LosesToLocal, By: evpn.BySequence, Mine: "1", Theirs: "2"}}, verdicts(x))

	x, ok = c.ExplainIP(100, mustAddr("192.0.2.1"))
	require.True(t, ok)
	assert.Equal(t, mac1, x.MAC)
	assert.Equal(t, evpn.OriginLocal, x.Origin)
	assert.Len(t, x.Own, 1)
	_, ok = c.ExplainIP(100, mustAddr("192.0.2.2"))
	assert.False(t, ok)
}
