package ebpf

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"golang.org/x/sys/unix"
)

func TestWay(t *testing.T) {
	gateway := netip.MustParseAddr("10.0.2.2")
	mac := [6]byte{2, 0, 0, 0, 0, 9}
	own := [6]byte{2, 0, 0, 0, 0, 1}
	good := func() *picture {
		p := newPicture()
		p.routes[destination{address: far4}] = route{hop: hop{3, gateway}}
		p.neighbors[hop{3, gateway}] = neighbor{mac, unix.NUD_STALE}
		p.devices[3] = device{mac: own, mtu: 1500, ethernet: true, up: true}
		return p
	}
	for name, c := range map[string]struct {
		change func(p *picture)
		want   way
	}{
		"resolved":           {func(*picture) {}, way{true, 3, mac, own, 1500}},
		"route with an MTU":  {func(p *picture) { p.routes[destination{address: far4}] = route{hop{3, gateway}, 1400} }, way{true, 3, mac, own, 1400}},
		"no route":           {func(p *picture) { p.routes[destination{address: far4}] = route{} }, way{}},
		"device down":        {func(p *picture) { p.devices[3] = device{mac: own, mtu: 1500, ethernet: true} }, way{}},
		"no Ethernet":        {func(p *picture) { p.devices[3] = device{mtu: 1500, up: true} }, way{}},
		"unknown neighbor":   {func(p *picture) { clear(p.neighbors) }, way{}},
		"being looked for":   {func(p *picture) { p.neighbors[hop{3, gateway}] = neighbor{state: unix.NUD_INCOMPLETE} }, way{}},
		"does not answer":    {func(p *picture) { p.neighbors[hop{3, gateway}] = neighbor{mac, unix.NUD_FAILED} }, way{}},
		"another device's":   {func(p *picture) { p.neighbors = map[hop]neighbor{{4, gateway}: {mac, unix.NUD_REACHABLE}} }, way{}},
		"device without ARP": {func(p *picture) { p.devices[3] = device{own, 1500, true, true, true} }, way{true, 3, own, own, 1500}},
	} {
		p := good()
		c.change(p)
		assert.Equal(t, c.want, p.way(destination{address: far4}), name)
	}
}

func TestNeighborsThatNeedAsking(t *testing.T) {
	for state, want := range map[int]bool{
		0: true, unix.NUD_STALE: true, unix.NUD_FAILED: true,
		unix.NUD_REACHABLE: false, unix.NUD_PERMANENT: false, unix.NUD_NOARP: false, unix.NUD_DELAY: false, unix.NUD_PROBE: false, unix.NUD_INCOMPLETE: false,
	} {
		assert.Equal(t, want, neighbor{state: state}.needs(), "state %#x", state)
	}
}
