package evpn_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// text is what every value type of the package can do.
type text interface {
	comparable
	String() string
}

// roundTrip holds a parser to this: it does not panic, and what it takes comes back
// the same from the text that the value prints.
func roundTrip[T text](t *testing.T, s string, parse func(string) (T, error)) {
	v, err := parse(s)
	if err != nil {
		var zero T
		assert.Equal(t, zero, v, "no value beside an error")
		return
	}
	again, err := parse(v.String())
	require.NoError(t, err, "%q prints as %q", s, v)
	assert.Equal(t, v, again)
}

func TestText(t *testing.T) {
	mac, err := evpn.ParseMAC("02-AA-00-00-00-0f")
	require.NoError(t, err)
	assert.Equal(t, "02:aa:00:00:00:0f", mac.String())
	for _, s := range []string{"", "02:aa:00:00:00", "02:aa:00:00:00:0g", "02:aa-00:00:00:0f", "02aa.0000.000f", "02.aa.00.00.00.0f"} {
		_, err := evpn.ParseMAC(s)
		assert.Error(t, err, s)
	}
	for _, s := range []string{"1", "16777215"} {
		v, err := evpn.ParseVNI(s)
		require.NoError(t, err)
		assert.Equal(t, s, v.String())
	}
	for _, s := range []string{"", "0", "16777216", "-1", "0x10", "4294967297"} {
		_, err := evpn.ParseVNI(s)
		assert.Error(t, err, s)
	}
	for _, s := range []string{"10.0.0.1:5", "65000:100000", "4200000000:7", "0:0"} {
		rd, err := evpn.ParseRD(s)
		require.NoError(t, err)
		assert.Equal(t, s, rd.String())
		rt, err := evpn.ParseRouteTarget(s)
		require.NoError(t, err)
		assert.Equal(t, s, rt.String())
	}
	for _, s := range []string{"", "1", "10.0.0.1:65536", "4200000000:65536", "2001:db8::1:5", "a:b", "65000:-1", "1:2:3"} {
		_, err := evpn.ParseRD(s)
		assert.Error(t, err, s)
		_, err = evpn.ParseRouteTarget(s)
		assert.Error(t, err, s)
	}
	for _, s := range []string{"*:100", "65000:100"} {
		it, err := evpn.ParseImportTarget(s)
		require.NoError(t, err)
		assert.Equal(t, s, it.String())
	}
	_, err = evpn.ParseImportTarget("*:x")
	assert.Error(t, err)
}

// TestRouteTargetRules holds the derived targets to RFC 8365 §5.1.2.1 and to what
// two-octet numbers can hold.
func TestRouteTargetRules(t *testing.T) {
	rt, ok := evpn.AutoRouteTarget(65000, 70000)
	assert.True(t, ok)
	assert.Equal(t, "65000:70000", rt.String())
	rt, ok = evpn.AutoRouteTarget(4200000000, 100)
	assert.True(t, ok)
	assert.Equal(t, evpn.RouteTarget{2, 2, 0xfa, 0x56, 0xea, 0, 0, 100}, rt)
	_, ok = evpn.AutoRouteTarget(4200000000, 65536)
	assert.False(t, ok)
	rt, ok = evpn.RFC8365RouteTarget(65000, 100)
	assert.True(t, ok)
	assert.Equal(t, evpn.RouteTarget{0, 2, 0xfd, 0xe8, 0x10, 0, 0, 100}, rt)
	_, ok = evpn.RFC8365RouteTarget(65536, 100)
	assert.False(t, ok)
}

func FuzzMAC(f *testing.F) {
	f.Add("02:aa:00:00:00:0f")
	f.Add("02-AA-00-00-00-0f")
	f.Fuzz(func(t *testing.T, s string) { roundTrip(t, s, evpn.ParseMAC) })
}

func FuzzVNI(f *testing.F) {
	f.Add("16777215")
	f.Fuzz(func(t *testing.T, s string) { roundTrip(t, s, evpn.ParseVNI) })
}

func FuzzRD(f *testing.F) {
	f.Add("10.0.0.1:5")
	f.Add("4200000000:7")
	f.Add("65000:4294967295")
	f.Fuzz(func(t *testing.T, s string) { roundTrip(t, s, evpn.ParseRD) })
}

func FuzzRouteTarget(f *testing.F) {
	f.Add("10.0.0.1:5")
	f.Add("4200000000:7")
	f.Fuzz(func(t *testing.T, s string) { roundTrip(t, s, evpn.ParseRouteTarget) })
}

func FuzzImportTarget(f *testing.F) {
	f.Add("*:100")
	f.Add("65000:100")
	f.Fuzz(func(t *testing.T, s string) { roundTrip(t, s, evpn.ParseImportTarget) })
}
