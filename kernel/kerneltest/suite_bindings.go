package kerneltest

import (
	"context"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

var (
	hostB4   = netip.MustParseAddr("192.0.2.11")
	hostB6   = netip.MustParseAddr("2001:db8::11")
	router4  = netip.MustParseAddr("192.0.2.1")
	any4     = netip.MustParseAddr("0.0.0.0")
	allNodes = snoop.Station{MAC: evpn.MAC{0x33, 0x33, 5: 1}, IP: netip.MustParseAddr("ff02::1")}
)

// settledPorts waits until both ports learn, with two MACs that no part is about, and
// until they are listened to.
func (r *rig) settledPorts() {
	r.t.Helper()
	one, two := evpn.MAC{2, 1, 1, 1, 1, 1}, evpn.MAC{2, 1, 1, 1, 1, 2}
	r.seen("p1", one)
	r.seen("p2", two)
	r.eventually(func() bool { return len(r.heard()) == 3 && r.k.Stats().Wire.Links == 2 }, "ports are in use")
	r.forget()
}

// announce is a gratuitous ARP.
func announce(mac evpn.MAC, ip netip.Addr) []byte {
	return snoop.ARPRequestFrame(snoop.BroadcastMAC, snoop.Station{MAC: mac, IP: ip}, ip)
}

// solicitDAD is a neighbour solicitation from ::, to the solicited-node address.
func solicitDAD(mac evpn.MAC, ip netip.Addr) []byte {
	a := ip.As16()
	group := netip.AddrFrom16([16]byte{0: 0xff, 1: 0x02, 11: 1, 12: 0xff, 13: a[13], 14: a[14], 15: a[15]})
	f := snoop.NSFrame(snoop.Station{MAC: mac, IP: group}, snoop.Station{MAC: evpn.MAC{0x33, 0x33, 0xff, a[13], a[14], a[15]}, IP: ip})
	// As built it comes from the group and asks the host itself: swap that, drop the
	// option, and sum again. The sum is over the same octets but for those.
	return resum(f[:14+40+24], netip.IPv6Unspecified(), group)
}

// resum gives an ICMPv6 frame other addresses and a right checksum.
func resum(f []byte, from, to netip.Addr) []byte {
	f = append([]byte{}, f...)
	s, d := from.As16(), to.As16()
	copy(f[22:], s[:])
	copy(f[38:], d[:])
	body := f[54:]
	binary.BigEndian.PutUint16(f[18:], uint16(len(body)))
	body[2], body[3] = 0, 0
	binary.BigEndian.PutUint16(body[2:], checksum(uint32(len(body))+58, f[22:54], body))
	return f
}

// checksum is the Internet checksum (RFC 1071) of parts of even length.
func checksum(sum uint32, parts ...[]byte) uint16 {
	for _, b := range parts {
		for ; len(b) > 0; b = b[2:] {
			sum += uint32(binary.BigEndian.Uint16(b))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// probed waits for a probe of ip at a port.
func (r *rig) probed(port string, ip netip.Addr) snoop.Packet {
	r.t.Helper()
	var found snoop.Packet
	r.eventually(func() bool {
		for _, f := range r.HostHears(r.t, port) {
			if p, reason := snoop.Parse(f); reason == "" && p.Target == ip && (p.Kind == snoop.ARPProbe || p.Kind == snoop.NS) {
				found = p
				return true
			}
		}
		return false
	}, "the host is asked for "+ip.String())
	return found
}

func heardARP(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.settledPorts()
	r.HostSends(t, "p1", snoop.ARPRequestFrame(snoop.BroadcastMAC, snoop.Station{MAC: macB, IP: hostB4}, router4))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"}, evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macB, Source: "arp"})

	// The address goes to another MAC at once (RFC 9721 §3).
	r.HostSends(t, "p2", announce(macC, hostB4))
	r.wantEvents(
		evpn.LocalMACLearned{VNI: 100, MAC: macC, Port: "p2"},
		evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macC, Source: "arp"},
		evpn.LocalIPGone{VNI: 100, IP: hostB4, MAC: macB})

	// A probe is no use of an address, and says nothing of the sender's.
	r.HostSends(t, "p1", snoop.ARPRequestFrame(snoop.BroadcastMAC, snoop.Station{MAC: macB, IP: any4}, router4))
	// The port's MACs, and their addresses with them, end with it.
	require.NoError(t, r.raw.DeleteLink(r.link("p2").Index))
	r.eventually(func() bool { return len(r.heard()) >= 3 }, "MACs of p2 are gone")
	assert.Contains(t, r.heard(), evpn.LocalMACGone{VNI: 100, MAC: macC})
	assert.Contains(t, r.heard(), evpn.LocalIPGone{VNI: 100, IP: hostB4, MAC: macC})
	assert.Len(t, r.heard(), 3)
	r.forget()

	// A reply tells of its sender; with suppression off nothing is listened to.
	r.HostSends(t, "p1", snoop.ARPReplyFrame(snoop.Station{MAC: macB, IP: hostB4}, snoop.Station{MAC: macA, IP: router4}))
	r.wantEvents(evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macB, Source: "arp"})
	off := oneVNI()
	off.VNIs[0].Suppression = false
	require.NoError(t, r.k.Configure(off))
	r.wantEvents(evpn.LocalIPGone{VNI: 100, IP: hostB4, MAC: macB})
	assert.Zero(t, r.k.Stats().Wire.Links)
}

func heardND(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.settledPorts()
	self := snoop.Station{MAC: macB, IP: hostB6}
	r.HostSends(t, "p1", snoop.NAFrame(self, allNodes, hostB6, snoop.Flags{Router: true, Override: true}))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"}, evpn.LocalIPLearned{VNI: 100, IP: hostB6, MAC: macB, Router: true, Source: "nd"})

	// Without the override flag an advertisement moves nothing (RFC 4861 §7.2.5).
	r.HostSends(t, "p2", snoop.NAFrame(snoop.Station{MAC: macC, IP: hostB6}, allNodes, hostB6, snoop.Flags{}))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macC, Port: "p2"})
	r.eventually(func() bool { return r.k.Stats().Bindings.Refused[snoop.NoOverride] == 1 }, "refused")

	// Duplicate address detection binds only when the host answers for the address.
	linkLocal := snoop.LinkLocal(macC)
	r.HostSends(t, "p2", solicitDAD(macC, linkLocal))
	p := r.probed("p2", linkLocal)
	assert.Empty(t, r.heard(), "a tentative address is nobody's")
	assert.Equal(t, snoop.NS, p.Kind)
	assert.Equal(t, macC, p.Dest, "asked by unicast")
	assert.True(t, p.Sender.IsLinkLocalUnicast())
	r.HostSends(t, "p2", snoop.NAFrame(snoop.Station{MAC: macC, IP: linkLocal}, snoop.Station{MAC: p.Source, IP: p.Sender}, linkLocal,
		snoop.Flags{Solicited: true, Override: true}))
	r.wantEvents(evpn.LocalIPLearned{VNI: 100, IP: linkLocal, MAC: macC, Source: "nd"})
}

func heardDHCP(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.settledPorts()
	r.seen("p1", macB)
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"})
	// The server is on the other port; what it says about a MAC that is not here counts for nothing.
	r.HostSends(t, "p2", dhcpAck(macA, evpn.MAC{2, 9}, hostB4))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macA, Port: "p2"})
	r.HostSends(t, "p2", dhcpAck(macA, macB, hostB4))
	p := r.probed("p1", hostB4)
	assert.Equal(t, snoop.ARPProbe, p.Kind)
	assert.Empty(t, r.heard(), "the server's word is not enough")
	r.HostSends(t, "p1", snoop.ARPReplyFrame(snoop.Station{MAC: macB, IP: hostB4}, snoop.Station{MAC: p.Source, IP: any4}))
	r.wantEvents(evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macB, Source: "dhcp"})
	assert.EqualValues(t, 1, r.k.Stats().Bindings.Refused[snoop.NotLearned])
}

// An address that moves away and back, as that of a pair of gateways does.
func heardYields(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.settledPorts()
	r.HostSends(t, "p1", announce(macB, hostB4))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"}, evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macB, Source: "arp"})
	r.set(remote(100, macC, vtepB), binding(100, hostB4.String(), macC))
	r.wantEvents(evpn.LocalIPGone{VNI: 100, IP: hostB4, MAC: macB})
	r.wantNeighbors("192.0.2.11 dev br100 lladdr 02:00:00:00:00:0c extern_learn NOARP proto 229")
	r.HostSends(t, "p1", announce(macB, hostB4))
	r.wantEvents(evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macB, Source: "arp"})
	r.remove(binding(100, hostB4.String(), macC))
	r.wantNeighbors()
	assert.Empty(t, r.heard())
}

// dhcpAck is a DHCPACK of a server, broadcast.
func dhcpAck(server, client evpn.MAC, ip netip.Addr) []byte {
	f := append(append([]byte{}, snoop.BroadcastMAC[:]...), server[:]...)
	f = append(f, 0x08, 0x00)
	f = append(f, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 254, 255, 255, 255, 255)
	f = append(f, 0, 67, 0, 68, 0, 0, 0, 0)
	b := make([]byte, 236)
	b[0], b[1], b[2] = 2, 1, 6
	copy(b[16:], ip.AsSlice())
	copy(b[28:], client[:])
	f = append(append(f, b...), 0x63, 0x82, 0x53, 0x63, 53, 1, 5, 255)
	binary.BigEndian.PutUint16(f[16:], uint16(len(f)-14))
	binary.BigEndian.PutUint16(f[24:], checksum(0, f[14:34])) // a host with br_netfilter drops others
	binary.BigEndian.PutUint16(f[38:], uint16(len(f)-34))
	return f
}

func forgedBindings(t *testing.T, f Factory) {
	w := underlay(t, f)
	cfg := oneVNI()
	cfg.VNIs[0].MaxIPsPerMAC = 2
	r := start(t, w, cfg, 0)
	r.settledPorts()
	// Another sender than the frame's source.
	forged := announce(macB, hostB4)
	copy(forged[6:], macC[:])
	r.HostSends(t, "p1", forged)
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macC, Port: "p1"})
	// A frame of the VXLAN device is not heard at all.
	require.NoError(t, r.k.Configure(cfg))
	assert.Equal(t, 2, r.k.Stats().Wire.Links)
	// Too many of one MAC; those that are there stay.
	var want []evpn.Event
	for i := range byte(4) {
		ip := netip.AddrFrom4([4]byte{192, 0, 2, 100 + i})
		r.HostSends(t, "p1", announce(macC, ip))
		if i < 2 {
			want = append(want, evpn.LocalIPLearned{VNI: 100, IP: ip, MAC: macC, Source: "arp"})
		}
	}
	r.wantEvents(want...)
	r.eventually(func() bool {
		refused := r.k.Stats().Bindings.Refused
		return refused[snoop.WrongSender] == 1 && refused[snoop.LimitMAC] == 2
	}, "refused")
	assert.Contains(t, r.k.Status()[0].Problems, "MAC 02:00:00:00:00:0c has 2 local IP addresses and more are refused (max_ips_per_mac)")
}

func silentHost(t *testing.T, f Factory) {
	r := start(t, underlay(t, f), oneVNI(), 0)
	r.settledPorts()
	r.HostSends(t, "p1", announce(macB, hostB4))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"}, evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macB, Source: "arp"})

	// The bridge forgets it; it answers, is learned again, and nobody heard of it.
	for i := range 3 {
		r.deleteLocal("p1", macB)
		p := r.probed("p1", hostB4)
		rows, err := r.k.Inspect(context.Background(), 100, []evpn.MAC{macB}, nil)
		require.NoError(t, err)
		assert.Equal(t, []kernel.Drift{{
			Table: kernel.LocalTable, VNI: 100, Link: "br100", MAC: macB, State: kernel.Missing, Expected: "dev p1", Pending: true,
		}}, rows, "who looks meanwhile is told")
		r.HostSends(t, "p1", snoop.ARPReplyFrame(snoop.Station{MAC: macB, IP: hostB4}, snoop.Station{MAC: p.Source, IP: any4}))
		r.eventually(func() bool { s := r.k.Stats().Bindings; return s.Kept == uint64(i+1) && s.Held == 0 }, "it is found alive")
	}
	assert.Empty(t, r.heard())

	// It is gone.
	r.deleteLocal("p1", macB)
	began := time.Now()
	r.wantEvents(evpn.LocalMACGone{VNI: 100, MAC: macB}, evpn.LocalIPGone{VNI: 100, IP: hostB4, MAC: macB})
	assert.Greater(t, time.Since(began), time.Second, "three probes take their time")

	// One without known addresses, and one whose port goes down, are gone at once.
	r.seen("p1", macC)
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macC, Port: "p1"})
	r.deleteLocal("p1", macC)
	r.wantEvents(evpn.LocalMACGone{VNI: 100, MAC: macC})
	assert.EqualValues(t, 4, r.k.Stats().Bindings.HeldBack)

	r.HostSends(t, "p2", announce(macB, hostB4))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p2"}, evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macB, Source: "arp"})
	down := false
	require.NoError(t, r.raw.SetLink(r.link("p2").Index, kernel.LinkSettings{Up: &down}))
	r.eventually(func() bool { return len(r.heard()) == 3 }, "all of p2 is gone")
	assert.Contains(t, r.heard(), evpn.LocalMACGone{VNI: 100, MAC: macB})
	assert.LessOrEqual(t, len(r.HostHears(t, "p2")), 1, "a port that is down is not asked three times")
}

// With its port a host leaves the VNI at once, also when the port is up and in a bridge.
func portChangesBridge(t *testing.T, f Factory) {
	w := underlay(t, f)
	cfg := oneVNI()
	cfg.VNIs = append(cfg.VNIs, kernel.VNI{VNI: 200, Manage: true, Suppression: true})
	r := start(t, w, cfg, 0)
	r.eventually(func() bool { return len(r.heard()) == 2 }, "both VNIs are up")
	r.seen("p1", macC)
	r.eventually(func() bool { return len(r.heard()) == 3 && r.k.Stats().Wire.Links == 2 }, "the port is in use")
	r.forget()
	r.HostSends(t, "p1", announce(macB, hostB4))
	r.wantEvents(evpn.LocalMACLearned{VNI: 100, MAC: macB, Port: "p1"}, evpn.LocalIPLearned{VNI: 100, IP: hostB4, MAC: macB, Source: "arp"})

	other := r.link("br200").Index
	require.NoError(t, r.raw.SetLink(r.link("p1").Index, kernel.LinkSettings{Master: &other}))
	r.eventually(func() bool { return len(r.heard()) == 3 }, "both MACs and the address have left")
	assert.ElementsMatch(t, []evpn.Event{
		evpn.LocalMACGone{VNI: 100, MAC: macB}, evpn.LocalMACGone{VNI: 100, MAC: macC}, evpn.LocalIPGone{VNI: 100, IP: hostB4, MAC: macB},
	}, r.heard())
	assert.LessOrEqual(t, r.k.Stats().Bindings.Probes, uint64(2), "nobody waited for an answer")
	r.forget()
	r.eventually(func() bool {
		r.HostSends(t, "p1", announce(macB, hostB4))
		return len(r.heard()) == 2
	}, "it is known in the other VNI")
	assert.Equal(t, []evpn.Event{
		evpn.LocalMACLearned{VNI: 200, MAC: macB, Port: "p1"}, evpn.LocalIPLearned{VNI: 200, IP: hostB4, MAC: macB, Source: "arp"},
	}, r.heard())
}
