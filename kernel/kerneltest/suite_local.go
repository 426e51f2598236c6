package kerneltest

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// seen lets a host send until its frame is learned: a port forwards only some time
// after it came up.
func (r *rig) seen(port string, mac evpn.MAC) {
	r.t.Helper()
	want := mac.String() + " dev " + port + " master br100"
	r.eventually(func() bool {
		r.Frame(r.t, port, mac)
		for _, l := range r.FDB(r.t) {
			if l == want {
				return true
			}
		}
		return false
	}, "frame is learned")
}

func (r *rig) deleteLocal(port string, mac evpn.MAC) {
	r.t.Helper()
	r.foreign(kernel.Delete, kernel.Neighbor{Family: unix.AF_BRIDGE, Index: r.link(port).Index, MAC: mac, Flags: unix.NTF_MASTER})
}

func localMACs(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.seen("p1", macB)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true}, evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"})
	r.seen("p2", macB)
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p2"}) // and nothing gone
	r.deleteLocal("p2", macB)
	r.wantEvents(evpn.LocalMACGone{VNI: 100, MAC: macB})

	// Pinned by the operator: static is ordinary, sticky is sticky, permanent is
	// nobody's, extern_learn is another control plane's.
	p1 := r.link("p1").Index
	pin := func(mac evpn.MAC, flags uint8, state uint16) {
		r.foreign(kernel.Replace, kernel.Neighbor{Family: unix.AF_BRIDGE, Index: p1, MAC: mac, Flags: unix.NTF_MASTER | flags, State: state})
	}
	pin(evpn.MAC{2, 1}, unix.NTF_EXT_LEARNED, unix.NUD_REACHABLE)
	pin(evpn.MAC{2, 2}, 0, unix.NUD_PERMANENT)
	pin(macA, 0, unix.NUD_NOARP)
	pin(macC, ntfSticky, unix.NUD_NOARP)
	r.wantEvents(
		evpn.LocalMACLearned{VNI: 100, MAC: macA, Port: "p1"},
		evpn.LocalMACLearned{VNI: 100, MAC: macC, Port: "p1", Sticky: true})
	assert.Equal(t, 2, r.k.Status()[0].LocalMACs)

	// A restart tells of them again.
	r.stop()
	again := start(t, r.World, oneVNI(), 0)
	assert.ElementsMatch(t, []evpn.Event{
		evpn.VNIState{VNI: 100, Up: true},
		evpn.LocalMACLearned{VNI: 100, MAC: macA, Port: "p1"},
		evpn.LocalMACLearned{VNI: 100, MAC: macC, Port: "p1", Sticky: true},
	}, again.heard())
}

func localIPs(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true})
	br := r.link("br100").Index
	four, six := netip.MustParseAddr("192.0.2.11"), netip.MustParseAddr("2001:db8::11")
	row := kernel.Neighbor{Family: unix.AF_INET, Index: br, Addr: four, MAC: macB, State: unix.NUD_STALE}
	r.foreign(kernel.Replace, row)
	r.wantEvents(evpn.LocalIPLearned{VNI: 100, IP: four, MAC: macB, Source: "kernel"})
	row.MAC = macC
	r.foreign(kernel.Replace, row)
	r.wantEvents(evpn.LocalIPLearned{VNI: 100, IP: four, MAC: macC, Source: "kernel"}, evpn.LocalIPGone{VNI: 100, IP: four, MAC: macB})
	r.foreign(kernel.Delete, row)
	r.wantEvents(evpn.LocalIPGone{VNI: 100, IP: four, MAC: macC})

	r.foreign(kernel.Replace, kernel.Neighbor{Family: unix.AF_INET, Index: br, Addr: netip.MustParseAddr("169.254.0.1"), MAC: macB, State: unix.NUD_STALE})
	r.foreign(kernel.Replace, kernel.Neighbor{Family: unix.AF_INET6, Index: br, Addr: six, MAC: macB, State: unix.NUD_STALE, Flags: unix.NTF_ROUTER})
	r.wantEvents(evpn.LocalIPLearned{VNI: 100, IP: six, MAC: macB, Router: true, Source: "kernel"}) // 169.254.0.1 is no news: RFC 3927 §2.5

	// Ours over a local one: the local binding ends.
	r.set(binding(100, six.String(), macC))
	r.wantEvents(evpn.LocalIPGone{VNI: 100, IP: six, MAC: macB})
}

func portLeaves(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.seen("p1", macB)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true}, evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"})
	require.NoError(t, r.raw.DeleteLink(r.link("p1").Index))
	r.wantEvents(evpn.LocalMACGone{VNI: 100, MAC: macB})
	r.eventually(func() bool { return len(r.k.Status()[0].Problems) == 1 }, "the missing port is shown")
	assert.Equal(t, []string{"port p1 does not exist"}, r.k.Status()[0].Problems)

	r.AddPort(t, "p1", 1500)
	r.eventually(func() bool { return r.link("p1").Master == r.link("br100").Index }, "it is enslaved when it comes back")
	r.seen("p1", macB)
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"})
}

func localOverRemote(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.set(remote(100, macB, vtepB))
	r.wantFDB(
		"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self extern_learn",
		"02:00:00:00:00:0b dev vxlan100 extern_learn master br100")
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true})
	r.seen("p1", macB)
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"})
	yielded := []string{
		"02:00:00:00:00:0b dev p1 master br100",
		"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self extern_learn",
	}
	assert.Equal(t, yielded, r.FDB(t), "a move is not damage")
	assert.Zero(t, r.settled().Repairs)

	// The core withdraws the remote row: the old VXLAN row goes, the local one stays.
	r.remove(remote(100, macB, vtepB))
	r.wantFDB("02:00:00:00:00:0b dev p1 master br100")
	assert.Empty(t, r.heard())

	// Before the core has spoken the host leaves again: the remote row returns.
	r.set(remote(100, macC, vtepB))
	r.eventually(func() bool { return r.k.Installed(remote(100, macC, vtepB).RowKey) }, "installed")
	r.seen("p2", macC)
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macC, Port: "p2"})
	r.deleteLocal("p2", macC)
	r.wantEvents(evpn.LocalMACGone{VNI: 100, MAC: macC})
	r.wantFDB(
		"02:00:00:00:00:0b dev p1 master br100",
		"02:00:00:00:00:0c dev vxlan100 dst 10.0.0.2 self extern_learn",
		"02:00:00:00:00:0c dev vxlan100 extern_learn master br100")

	// A sticky remote MAC cannot be taken over by frames.
	r.set(sticky(remote(100, macA, vtepB)))
	r.eventually(func() bool { return r.k.Installed(remote(100, macA, vtepB).RowKey) }, "installed")
	r.Frame(t, "p1", macA)
	r.seen("p1", evpn.MAC{2, 9}) // and only after it this one
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 9}, Port: "p1"})
}

func remoteOverLocal(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.seen("p1", macB)
	r.wantEvents(evpn.VNIState{VNI: 100, Up: true}, evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"})
	// The core knows of the local MAC and decides for the remote one.
	r.set(remote(100, macB, vtepB))
	r.wantEvents(evpn.LocalMACGone{VNI: 100, MAC: macB})
	r.wantFDB(
		"02:00:00:00:00:0b dev vxlan100 dst 10.0.0.2 self extern_learn",
		"02:00:00:00:00:0b dev vxlan100 extern_learn master br100")
	// And the host may come back.
	r.seen("p1", macB)
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"})
	assert.Zero(t, r.settled().Repairs)
}
