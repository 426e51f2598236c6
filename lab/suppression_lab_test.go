//go:build lab

package lab_test

import (
	"bytes"
	netorder "encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// insideVXLAN gives the Ethernet frame that a frame of an IPv4 underlay carries.
func insideVXLAN(frame []byte) []byte {
	const ethernetSize, udpSize, vxlanSize, port = 14, 8, 8, 4789
	if len(frame) < ethernetSize+20 || netorder.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP || frame[23] != unix.IPPROTO_UDP {
		return nil
	}
	at := ethernetSize + int(frame[14]&15)*4
	if len(frame) < at+udpSize+vxlanSize || netorder.BigEndian.Uint16(frame[at+2:]) != port {
		return nil
	}
	return frame[at+udpSize+vxlanSize:]
}

// resolutionIn counts the address resolution in the tunnels of an uplink.
func resolutionIn(seen []sighting) (n int) {
	for _, s := range seen {
		if isResolution(insideVXLAN(s.frame)) {
			n++
		}
	}
	return n
}

// TestSuppression has vtepbgp at va; who plays vb is the other side of every story.
func TestSuppression(t *testing.T) {
	t.Parallel()
	for _, vb := range []string{kindVTEPBGP, kindFRR} {
		t.Run("vb="+vb, func(t *testing.T) {
			t.Parallel()
			f := newFabric(t, kindVTEPBGP, kindVTEPBGP, vb)
			eventually(t, convergence, "flood row of vb on va", f.wantFDB("va", zeroMAC, floodRows("10.0.0.2")))
			eventually(t, convergence, "flood row of va on vb", f.wantFDB("vb", zeroMAC, floodRows("10.0.0.1")))
			f.inTurn(t, []part{
				{"ready", suppressionReady},
				{"a thousand known hosts", knownHosts},
				{"unknown hosts", unknownHosts},
				{"carried once", carriedOnce},
				{"an address changes its MAC", addressChangesMAC},
				{"an address in use, known", duplicateKnown},
				{"an address in use, its owner silent", duplicateSilent},
			})
		})
	}
}

// suppressionReady reads what an operator reads.
func suppressionReady(t *testing.T, f *fabric) {
	state := func() (string, []string) {
		var vnis []struct {
			State   string   `json:"suppression"`
			Missing []string `json:"suppression_missing"`
		}
		require.NoError(t, f.json(&vnis, "va", "vtepbgp", "vni", "show", "-o", "json"))
		require.Len(t, vnis, 1)
		return vnis[0].State, vnis[0].Missing
	}
	want := func(what string, missing ...string) {
		eventually(t, convergence, what, func() error {
			if got, why := state(); got != what || strings.Join(why, "\n") != strings.Join(missing, "\n") {
				return fmt.Errorf("suppression is %s, missing %q", got, why)
			}
			return nil
		})
	}
	want("ready")
	f.do("va", "bridge", "link", "set", "dev", "eth2", "neigh_suppress", "on")
	want("not ready", "port eth2 has neigh_suppress on, so that its hosts get no answers: bridge link set dev eth2 neigh_suppress off")
	f.do("va", "bridge", "link", "set", "dev", "eth2", "neigh_suppress", "off")
	want("ready")
}

// knownHosts is what suppression is for: not one packet on the underlay.
func knownHosts(t *testing.T, f *fabric) {
	h1, h2, uplink := f.openTap("h1", "eth1"), f.openTap("h2", "eth1"), f.openTap("va", "eth1")
	all := guests(1000)
	f.appear("vb", "va", h2, all)
	if f.kind["vb"] == kindVTEPBGP { // it carries what guests announced, in order
		last := gratuitousARP(all[0].mac, "10.98.2.1")
		h2.send(last)
		h1.until(convergence, "the last announcement", func(s sighting) bool { return bytes.Equal(s.frame, last) })
	}
	me := hwAddr(f.macOf("h1"))
	for _, c := range []struct {
		name   string
		ask    func(guest) []byte
		answer func([]byte) (ip string, mac net.HardwareAddr)
	}{
		{"ARP", func(g guest) []byte { return arpFrame(broadcastMAC, arpRequest, me, "192.168.100.1", nil, g.ip4) },
			func(b []byte) (string, net.HardwareAddr) {
				if !isARP(b) || netorder.BigEndian.Uint16(b[20:]) != arpReply {
					return "", nil
				}
				return netip.AddrFrom4([4]byte(b[28:32])).String(), b[22:28]
			}},
		{"NS", func(g guest) []byte { return solicitation(me, "fe80::1", g.ip6) },
			func(b []byte) (string, net.HardwareAddr) {
				if !isND(b, ndNeighborAdvertisement) || len(b) < 86 {
					return "", nil
				}
				return netip.AddrFrom16([16]byte(b[62:78])).String(), b[80:86]
			}},
	} {
		h1.drain()
		uplink.drain()
		answers := map[string]string{}
		for _, g := range all {
			h1.send(c.ask(g))
		}
		h1.until(convergence, "all answers", func(s sighting) bool {
			if ip, mac := c.answer(s.frame); ip != "" && !s.sent {
				answers[ip] = mac.String()
			}
			return len(answers) >= len(all)
		})
		for _, g := range all {
			ip := g.ip4
			if c.name == "NS" {
				ip = g.ip6
			}
			require.Equal(t, g.mac.String(), answers[ip], "%s for %s", c.name, ip)
		}
		n := resolutionIn(uplink.drain())
		require.Zero(t, n, "%s on the underlay", c.name)
		t.Logf("%d %s answered, %d packets of address resolution on the underlay", len(answers), c.name, n)
	}
}

// unknownHosts are found as ever: the question is flooded, the host itself answers.
func unknownHosts(t *testing.T, f *fabric) {
	uplink := f.openTap("va", "eth1")
	for _, c := range []struct{ ip, add string }{
		{"192.168.100.55", "192.168.100.55/24"},
		{"2001:db8:100::55", "2001:db8:100::55/64"},
	} {
		if strings.Contains(c.ip, ":") {
			f.do("h1", "ip", "addr", "add", "2001:db8:100::1/64", "dev", "eth1", "nodad")
			f.do("h2", "ip", "addr", "add", c.add, "dev", "eth1", "nodad")
		} else {
			f.do("h2", "ip", "addr", "add", c.add, "dev", "eth1")
		}
		row, _, err := f.neigh("va", c.ip)
		require.NoError(t, err)
		require.Empty(t, row, "nobody has heard of it")
		uplink.drain()
		require.NoError(t, f.ping("h1", c.ip, 1))
		assert.NotZero(t, resolutionIn(uplink.drain()), "the question crossed the underlay")
	}
	if f.kind["vb"] == kindVTEPBGP {
		// It spoke, so that from now on it is known.
		eventually(t, convergence, "h2 on va", f.wantNeigh("va", "192.168.100.55", f.macOf("h2")))
		eventually(t, convergence, "h2 on va", f.wantNeigh("va", "2001:db8:100::55", f.macOf("h2")))
	}
}

// carriedOnce: what hosts announce reaches each host elsewhere once and never comes back,
// and nobody learns the MAC where it is not.
func carriedOnce(t *testing.T, f *fabric) {
	h1, h2, uplink := f.openTap("h1", "eth1"), f.openTap("h2", "eth1"), f.openTap("va", "eth1")
	me := net.HardwareAddr{2, 0, 0, 2, 0, 1}
	for i, frame := range [][]byte{
		gratuitousARP(me, "10.98.0.1"),
		arpFrame(broadcastMAC, arpReply, me, "10.98.0.1", broadcastMAC, "10.98.0.1"),
		unsolicitedNA(me, "2001:db8:98::1"),
		probeOf(me, "10.98.0.2"),
		gratuitousARP(me, "169.254.98.1"),
		ndFrame(nil, me, "::", solicitedNode("2001:db8:98::2"), ndNeighborSolicitation, 0, "2001:db8:98::2", 0, nil),
	} {
		is := func(b []byte) bool { return bytes.Equal(b, frame) }
		// Frames are carried in order: behind the last one nothing of the first can come.
		last := gratuitousARP(me, fmt.Sprintf("10.98.1.%d", i+1))
		for _, p := range []*tap{h1, h2, uplink} {
			p.drain()
		}
		h1.send(frame)
		h1.send(last)
		count := func(seen []sighting, inner func([]byte) []byte) (n int) {
			for _, s := range seen {
				if is(inner(s.frame)) {
					n++
				}
			}
			return n
		}
		plain := func(b []byte) []byte { return b }
		seen := h2.until(convergence, "the frame behind", func(s sighting) bool { return bytes.Equal(s.frame, last) })
		assert.Equal(t, 1, count(seen, plain), "frame %d at h2", i)
		assert.Equal(t, 1, count(uplink.drain(), insideVXLAN), "frame %d on the underlay", i)
		assert.Zero(t, count(h1.drain(), plain), "frame %d back at h1", i)
	}
	eventually(t, convergence, "MAC on vb", f.wantFDB("vb", me.String(), remoteRows(me.String(), "10.0.0.1")))
	rows, err := f.fdb("va", "vxlan100", me.String())
	require.NoError(t, err)
	assert.Empty(t, rows, "it is local on va")
}

// addressChangesMAC: what a host announces is a type-2 at once, and hosts elsewhere hear it.
// FRR without an address on the bridge learns none, so the new place is va.
func addressChangesMAC(t *testing.T, f *fabric) {
	f.do("h1", "ip", "addr", "replace", "2001:db8:100::1/64", "dev", "eth1", "nodad")
	f.do("h2", "ip", "addr", "replace", "2001:db8:100::3/64", "dev", "eth1", "nodad")
	h1, h2 := f.openTap("h1", "eth1"), f.openTap("h2", "eth1")
	isEcho4 := func(b []byte) bool {
		return netorder.BigEndian.Uint16(b[12:]) == unix.ETH_P_IP && b[23] == unix.IPPROTO_ICMP
	}
	isEcho6 := func(b []byte) bool { return isND(b, 128) } // echo request (RFC 4443 section 4.1)
	asked4 := func(mac net.HardwareAddr, ip string) []byte {
		return arpFrame(broadcastMAC, arpRequest, mac, ip, nil, "192.168.100.2")
	}
	asked6 := func(mac net.HardwareAddr, ip string) []byte { return solicitation(mac, ip, "2001:db8:100::3") }
	// A host that changes its MAC says so (arp_notify, ndisc_notify), so that all stories
	// begin with right caches.
	settled := func() {
		mac := hwAddr(f.macOf("h1"))
		h1.send(gratuitousARP(mac, "192.168.100.1"))
		h1.send(unsolicitedNA(mac, "2001:db8:100::1"))
	}
	for i, c := range []struct {
		name, ip     string
		says         func(net.HardwareAddr, string) []byte
		heardAs      func(net.HardwareAddr, string) []byte
		isEchoToHost func([]byte) bool
	}{
		{"gratuitous ARP", "192.168.100.1", gratuitousARP, gratuitousARP, isEcho4},
		{"unsolicited NA", "2001:db8:100::1", unsolicitedNA, unsolicitedNA, isEcho6},
		// A question that may be answered here tells the same. It is passed on as an announcement.
		{"ARP request", "192.168.100.1", asked4, gratuitousARP, isEcho4},
		{"NS", "2001:db8:100::1", asked6, unsolicitedNA, isEcho6},
	} {
		mac := net.HardwareAddr{2, 0, 0, 3, 0, byte(i + 1)}
		settled()
		eventually(t, convergence, "old place", func() error { return f.ping("h2", c.ip, 2) })
		eventually(t, convergence, "h1 on vb", f.wantNeigh("vb", c.ip, f.macOf("h1")))
		rows := f.watchNeighbor("vb", c.ip, mac)
		f.do("h1", "ip", "link", "set", "eth1", "address", mac.String())
		h2.drain()
		announced := c.heardAs(mac, c.ip)
		began := time.Now()
		h1.send(c.says(mac, c.ip))
		h2.until(convergence, c.name+" at h2", func(s sighting) bool { return bytes.Equal(s.frame, announced) })
		heard := time.Since(began)
		var row time.Duration
		select {
		case at := <-rows:
			row = at.Sub(began)
		case <-time.After(convergence):
			require.Fail(t, "no new row on vb")
		}
		t.Logf("%s: at the remote host after %s, neighbour row of the remote VTEP after %s",
			c.name, heard.Round(10*time.Microsecond), row.Round(10*time.Microsecond))
		done := make(chan error, 1)
		go func() { done <- f.ping("h2", c.ip, 1) }()
		first := h2.until(convergence, "echo request", func(s sighting) bool { return s.sent && len(s.frame) > 55 && c.isEchoToHost(s.frame) })
		assert.Equal(t, mac.String(), net.HardwareAddr(first[len(first)-1].frame[:6]).String(), "the next packet goes to the new MAC")
		require.NoError(t, <-done)
	}
	settled()
}

// watchNeighbor tells when an address has a MAC on br100 of a node.
func (f *fabric) watchNeighbor(node, ip string, mac net.HardwareAddr) <-chan time.Time {
	f.t.Helper()
	ns := f.namespace(node)
	updates, stop, at := make(chan netlink.NeighUpdate, 64), make(chan struct{}), make(chan time.Time, 1)
	require.NoError(f.t, netlink.NeighSubscribeWithOptions(updates, stop, netlink.NeighSubscribeOptions{Namespace: &ns}))
	f.t.Cleanup(func() { close(stop) })
	go func() {
		for u := range updates {
			if u.Type == unix.RTM_NEWNEIGH && u.IP.String() == ip && u.HardwareAddr.String() == mac.String() {
				select {
				case at <- time.Now():
				default:
				}
			}
		}
	}()
	return at
}

// asksInVain sends ARP probes as RFC 5227 section 2.1.1 does and gives who defends the address.
func asksInVain(p *tap, me net.HardwareAddr, target string) net.HardwareAddr {
	p.t.Helper()
	p.drain()
	want := netip.MustParseAddr(target).AsSlice()
	p.send(probeOf(me, target))
	seen := p.until(convergence, "defence of "+target, func(s sighting) bool {
		return !s.sent && isARP(s.frame) && bytes.Equal(s.frame[28:32], want)
	})
	return seen[len(seen)-1].frame[22:28]
}

// dadFails gives a host an address and wants its kernel to find it taken.
func (f *fabric) dadFails(host, ip string) {
	f.t.Helper()
	f.do(host, "ip", "addr", "add", ip+"/64", "dev", "eth1")
	eventually(f.t, convergence, "duplicate found", func() error {
		out, err := f.try(host, "ip", "-6", "addr", "show", "dev", "eth1")
		if err != nil {
			return err
		}
		for _, line := range strings.Split(out, "\n") {
			if strings.Contains(line, " "+ip+"/64") && strings.Contains(line, "dadfailed") {
				return nil
			}
		}
		return errors.New(out)
	})
	f.do(host, "ip", "addr", "del", ip+"/64", "dev", "eth1")
}

// duplicateKnown: an address that EVPN knows is defended right here.
func duplicateKnown(t *testing.T, f *fabric) {
	const four, six = "192.168.100.2", "2001:db8:100::2"
	f.do("h2", "ip", "addr", "add", six+"/64", "dev", "eth1")
	owner := f.macOf("h2")
	if f.kind["vb"] == kindFRR {
		for _, ip := range []string{four, six} {
			f.do("vb", "ip", "neigh", "replace", ip, "lladdr", owner, "dev", "br100", "nud", "reachable")
		}
	}
	require.NoError(t, f.ping("h1", four, 1))
	eventually(t, convergence, "address of h2 to be its own", func() error { return f.ping("h1", six, 1) })
	eventually(t, convergence, four+" on va", f.wantNeigh("va", four, owner))
	eventually(t, convergence, six+" on va", f.wantNeigh("va", six, owner))
	h1, uplink := f.openTap("h1", "eth1"), f.openTap("va", "eth1")
	newcomer := net.HardwareAddr{2, 0, 0, 4, 0, 1}
	uplink.drain()
	assert.Equal(t, owner, asksInVain(h1, newcomer, four).String())
	for _, s := range uplink.drain() {
		inner := insideVXLAN(s.frame)
		assert.False(t, isARP(inner) && bytes.Equal(inner[6:12], newcomer), "the probe crossed the underlay")
	}
	f.dadFails("h1", six)
}

// duplicateSilent: an address that nobody has heard of is defended by its owner. An owner
// behind FRR can do so for IPv4 only: its advertisement to all nodes is swallowed there.
func duplicateSilent(t *testing.T, f *fabric) {
	const four, six = "192.168.100.66", "2001:db8:100::66"
	f.do("h2", "ip", "addr", "add", four+"/24", "dev", "eth1")
	f.do("h2", "ip", "addr", "add", six+"/64", "dev", "eth1", "nodad")
	for _, ip := range []string{four, six} {
		row, _, err := f.neigh("va", ip)
		require.NoError(t, err)
		require.Empty(t, row, "nobody has heard of it")
	}
	owner := f.macOf("h2")
	assert.Equal(t, owner, asksInVain(f.openTap("h1", "eth1"), net.HardwareAddr{2, 0, 0, 4, 0, 2}, four).String())
	if f.kind["vb"] == kindVTEPBGP {
		f.dadFails("h1", six)
	}
}

// TestSuppressionOff floods as any bridge does, and carries nothing twice.
func TestSuppressionOff(t *testing.T) {
	t.Parallel()
	off := "arp_suppression = false\n"
	f := stage{
		kind:   map[string]string{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindVTEPBGP},
		config: map[string]string{"va": off, "vb": off},
	}.build(t)
	eventually(t, convergence, "flood row of vb on va", f.wantFDB("va", zeroMAC, floodRows("10.0.0.2")))
	require.NoError(t, f.ping("h1", "192.168.100.2", 1))
	carriedOnce(t, f)
	h1, h2 := f.openTap("h1", "eth1"), f.openTap("h2", "eth1")
	me := hwAddr(f.macOf("h1"))
	for _, frame := range [][]byte{
		arpFrame(broadcastMAC, arpRequest, me, "192.168.100.1", nil, "192.168.100.2"),
		solicitation(me, "fe80::1", "2001:db8:100::2"),
	} {
		h1.send(frame)
		h2.until(convergence, "the question", func(s sighting) bool { return bytes.Equal(s.frame, frame) })
	}
}

// TestSuppressionWithoutFlooding: a VNI that floods to nobody carries nothing, and
// still answers for whom it knows.
func TestSuppressionWithoutFlooding(t *testing.T) {
	t.Parallel()
	f := stage{
		kind:   map[string]string{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindVTEPBGP},
		config: map[string]string{"va": "flooding = \"off\"\n"},
	}.build(t)
	h1, h2, uplink := f.openTap("h1", "eth1"), f.openTap("h2", "eth1"), f.openTap("va", "eth1")
	f.appear("vb", "va", h2, guests(1))
	g, me := guests(1)[0], net.HardwareAddr{2, 0, 0, 4, 0, 1}
	uplink.drain()
	h1.send(gratuitousARP(me, "10.98.0.1"))
	h1.send(probeOf(me, "10.98.0.2"))
	// The answer to the last one says that those before are done with.
	assert.Equal(t, g.mac.String(), asksInVain(h1, me, g.ip4).String())
	assert.Zero(t, resolutionIn(uplink.drain()))
	eventually(t, convergence, "what was announced is known all the same", f.wantNeigh("vb", "10.98.0.1", me.String()))
}
