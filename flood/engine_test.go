package flood_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

type named struct {
	flood.Engine
	name string
}

func (n named) Name() string { return n.name }

func kind(name string, probe, open error) flood.Kind {
	return flood.Kind{Name: name, Probe: func(flood.Options) error { return probe }, Open: func(flood.Options) (flood.Engine, error) {
		if open != nil {
			return nil, open
		}
		return named{name: name}, nil
	}}
}

func TestChoose(t *testing.T) {
	no := errors.New("not on this kernel")
	for _, c := range []struct {
		name         string
		kinds        []flood.Kind
		want, reason string
		err          string
	}{
		{"auto", []flood.Kind{kind("fast", nil, nil), kind("slow", nil, nil)}, "fast", "the first choice, and the kernel can", ""},
		{"auto", []flood.Kind{kind("fast", no, nil), kind("slow", nil, nil)}, "slow", "no fast: not on this kernel", ""},
		{"auto", []flood.Kind{kind("fast", nil, no), kind("slow", nil, nil)}, "slow", "no fast: not on this kernel", ""},
		{"auto", []flood.Kind{kind("fast", no, nil), kind("slow", no, nil)}, "", "", "no fast: not on this kernel; no slow"},
		{"slow", []flood.Kind{kind("fast", nil, nil), kind("slow", nil, nil)}, "slow", "asked for by the configuration", ""},
		{"fast", []flood.Kind{kind("fast", no, nil), kind("slow", nil, nil)}, "", "", "no fast: not on this kernel"},
		{"odd", []flood.Kind{kind("fast", nil, nil), kind("slow", nil, nil)}, "", "", `"odd": there are fast, slow and auto`},
	} {
		e, choice, err := flood.Choose(c.name, c.kinds, flood.Options{})
		if c.err != "" {
			assert.ErrorContains(t, err, c.err)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, c.want, e.Name())
		assert.Equal(t, flood.Choice{Name: c.want, Reason: c.reason}, choice)
	}
}

func TestComeback(t *testing.T) {
	var c flood.Comeback
	c.Down()
	assert.False(t, c.Look(true), "it comes up for the first time")
	assert.False(t, c.Look(true))
	assert.False(t, c.Look(false))
	assert.False(t, c.Look(false))
	assert.True(t, c.Look(true))
	assert.False(t, c.Look(true))
	c.Down()
	assert.True(t, c.Look(true), "it was down between two looks")
	assert.False(t, c.Look(true))
}

func TestEars(t *testing.T) {
	e := flood.NewEars()
	p, r := flood.ParseEthernet(outer(false).Bytes(), flood.Trust{})
	require.Equal(t, flood.Kept, r)
	e.Note(&flood.Network{VNI: 1}, &p, 0)
	assert.Empty(t, e.Heard(time.Minute, 0), "nobody asked")
	e.Note(&flood.Network{VNI: 1, HearVTEPs: true}, &p, time.Second)
	assert.Equal(t, []flood.Heard{{VNI: 1, VTEP: leaf4, Age: 2 * time.Second}}, e.Heard(time.Minute, 3*time.Second))
	e.Note(&flood.Network{VNI: 1, HearMACs: true}, &p, 4*time.Second)
	mac, err := evpn.ParseMAC("02:00:00:00:00:01")
	require.NoError(t, err)
	assert.ElementsMatch(t, []flood.Heard{{VNI: 1, VTEP: leaf4}, {VNI: 1, VTEP: leaf4, MAC: mac}}, e.Heard(time.Minute, 4*time.Second))
	assert.Empty(t, e.Heard(time.Minute, 2*time.Minute), "silent")
	assert.Len(t, e.Heard(5*time.Minute, 2*time.Minute), 2, "silent, but not forgotten")
	assert.Empty(t, e.Heard(time.Second, 2*time.Minute))
	assert.Empty(t, e.Heard(time.Hour, 2*time.Minute), "forgotten")
}
