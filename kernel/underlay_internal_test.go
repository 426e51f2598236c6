package kernel

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
)

func tracked(addrs ...string) *underlay {
	u := newUnderlay()
	for _, a := range addrs {
		u.track([]evpn.NextHopChange{{VTEP: netip.MustParseAddr(a)}})
	}
	u.takeDirty()
	return u
}

func (u *underlay) marks() (out []string) {
	for _, a := range u.sorted() {
		if u.ways[a].dirty {
			out = append(out, a.String())
		}
	}
	return out
}

func TestPrefixMarksWhatItCovers(t *testing.T) {
	all := []string{"10.0.0.1", "10.0.1.1", "10.0.1.255", "10.0.2.1", "2001:db8::1", "2001:db8:0:1::1"}
	for prefix, want := range map[string][]string{
		"0.0.0.0/0":       all[:4],
		"10.0.1.0/24":     all[1:3],
		"10.0.1.255/32":   all[2:3],
		"10.0.1.2/32":     nil,
		"9.0.0.0/8":       nil,
		"11.0.0.0/8":      nil,
		"::/0":            all[4:],
		"2001:db8::/64":   all[4:5],
		"2001:db8:1::/48": nil,
		"":                all,
	} {
		u := tracked(all...)
		p, _ := netip.ParsePrefix(prefix)
		u.changed(p)
		assert.Equal(t, want, u.marks(), prefix)
	}
}

// A VTEP that waits for its lookup and is no longer of interest must not hide that
// another one waits for none.
func TestForgottenVTEPDoesNotCount(t *testing.T) {
	u := tracked("10.0.0.1", "10.0.0.2")
	u.changed(netip.MustParsePrefix("10.0.0.1/32"))
	u.track([]evpn.NextHopChange{{VTEP: netip.MustParseAddr("10.0.0.1"), Remove: true}})
	u.changed(netip.MustParsePrefix("10.0.0.2/32"))
	assert.Equal(t, []string{"10.0.0.2"}, u.marks())
}

// The core asks again for a VTEP that nothing named for a while: it has forgotten the answer.
func TestAskedAgain(t *testing.T) {
	u := newUnderlay()
	u.site.links = map[int32]wayLink{1: {name: "eth0", up: true, running: true, mtu: 1500}}
	ask := []evpn.NextHopChange{{VTEP: netip.MustParseAddr("10.0.0.1")}}
	for range 2 {
		u.track(ask)
		ways, _ := u.takeDirty()
		u.learn(ways, []Route{{Type: unix.RTN_UNICAST, Device: 1}}, time.Now())
		assert.Equal(t, []evpn.Event{evpn.NextHopState{VTEP: ask[0].VTEP, Reachable: true}}, u.report(nil, 9))
		u.mark(u.ways[ask[0].VTEP])
		u.due = time.Now()
		ways, _ = u.takeDirty()
		u.learn(ways, []Route{{Type: unix.RTN_UNICAST, Device: 1}}, time.Now())
		assert.Empty(t, u.report(nil, 9), "nothing is told twice")
	}
}

func TestJudge(t *testing.T) {
	to := netip.MustParseAddr("10.0.0.2")
	s := waySite{links: map[int32]wayLink{
		1: {name: "eth0", up: true, running: true, mtu: 1500},
		2: {name: "eth1", up: true, mtu: 1500},
		3: {name: "eth2", mtu: 1500},
		4: {name: "br100", up: true, running: true, mtu: 1450, overlay: true},
	}}
	for _, c := range []struct {
		route Route
		want  VTEPState
	}{
		{Route{Type: unix.RTN_UNICAST, Device: 1}, VTEPState{Reachable: true, Device: "eth0", MTU: 1500}},
		{Route{Type: unix.RTN_UNICAST, Device: 1, MTU: 1400}, VTEPState{Reachable: true, Device: "eth0", MTU: 1400}},
		{Route{Type: unix.RTN_UNICAST, Device: 1, MTU: 9000}, VTEPState{Reachable: true, Device: "eth0", MTU: 1500}},
		{Route{Type: unix.RTN_UNICAST, Device: 2}, VTEPState{Reason: "eth1 has no carrier", Device: "eth1", MTU: 1500}},
		{Route{Type: unix.RTN_UNICAST, Device: 3}, VTEPState{Reason: "eth2 is down", Device: "eth2", MTU: 1500}},
		{Route{Type: unix.RTN_UNICAST, Device: 4}, VTEPState{Reason: "the route leads into the overlay by br100, which would carry its own packets", Device: "br100", MTU: 1450}},
		{Route{Type: unix.RTN_LOCAL, Device: 9}, VTEPState{Own: true, Reason: "the address is on this host"}},
		{Route{Type: unix.RTN_BROADCAST, Device: 1}, VTEPState{Reason: "the address is not a host's: the route is of type broadcast"}},
		{Route{Err: unix.ENETUNREACH}, VTEPState{Reason: "no route"}},
		{Route{Err: errors.New("odd")}, VTEPState{Reason: "the route cannot be looked up: odd"}},
	} {
		c.want.VTEP = to
		got, ok := s.judge(to, c.route)
		assert.True(t, ok)
		assert.Equal(t, c.want, got)
	}
	_, ok := s.judge(to, Route{Type: unix.RTN_UNICAST, Device: 9})
	assert.False(t, ok, "the event that tells of the link is under way")
}

func TestRouteMessages(t *testing.T) {
	four, six := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2")
	q := RouteQuery{Source: netip.MustParseAddr("10.0.0.1"), Port: 4789}
	for _, to := range []netip.Addr{four, six} {
		m, _, ok := nextMessage(appendGetRoute(nil, q, to, 7))
		assert.True(t, ok)
		assert.EqualValues(t, 7, m.seq)
		p, ok := decodeRoutePrefix(m.body)
		assert.True(t, ok)
		assert.Equal(t, netip.PrefixFrom(to, to.BitLen()), p)
		assert.Equal(t, map[bool]byte{true: 32, false: 0}[to.Is4()], m.body[2], "a source of another family is no source")
	}
	head := func(family, bits byte) []byte {
		return append([]byte{family, bits}, make([]byte, unix.SizeofRtMsg-2)...)
	}
	p, ok := decodeRoutePrefix(head(unix.AF_INET, 0))
	assert.True(t, ok)
	assert.Equal(t, "0.0.0.0/0", p.String(), "a default route has no RTA_DST")
	_, ok = decodeRoutePrefix(head(128, 32)) // RTNL_FAMILY_IPMR
	assert.False(t, ok)
	_, ok = decodeRoutePrefix(head(unix.AF_INET, 33))
	assert.False(t, ok)

	body := head(unix.AF_INET, 32)
	body[7] = unix.RTN_UNICAST
	body = appendUint32Attribute(body, unix.RTA_OIF, 3)
	body = appendAttribute(body, unix.RTA_VIA, append([]byte{unix.AF_INET6, 0}, six.AsSlice()...))
	body = appendNest(body, unix.RTA_METRICS, func(b []byte) []byte { return appendUint32Attribute(b, unix.RTAX_MTU, 1400) })
	assert.Equal(t, Route{Type: unix.RTN_UNICAST, Device: 3, Gateway: six, MTU: 1400}, decodeRoute(body))
}

func FuzzRouteMessages(f *testing.F) {
	f.Add(appendGetRoute(nil, RouteQuery{}, netip.MustParseAddr("10.0.0.2"), 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		deliverRoutes(b, false, func(c RouteChange) {
			if c.Prefix != c.Prefix.Masked() {
				t.Fatal(c)
			}
		})
		if m, _, ok := nextMessage(b); ok {
			decodeRoute(m.body)
		}
	})
}

// BenchmarkRouteChanges takes in 10,000 changes of a routing table with 1,000 VTEPs.
func BenchmarkRouteChanges(b *testing.B) {
	u := newUnderlay()
	for i := range 1000 {
		u.track([]evpn.NextHopChange{{VTEP: netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}})
	}
	u.takeDirty()
	var changes []netip.Prefix
	for i := range 10_000 {
		changes = append(changes, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}), 32))
	}
	for b.Loop() {
		for _, p := range changes {
			u.changed(p)
		}
	}
	if len(u.dirty) > 0 {
		b.Fatal("nothing of this concerns a VTEP")
	}
}
