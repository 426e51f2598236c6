package snoop_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

const testVNI = evpn.VNI(100)

var (
	tableA = evpn.MAC{2, 0, 0, 0, 0, 0xa}
	tableB = evpn.MAC{2, 0, 0, 0, 0, 0xb}
	ip1    = netip.MustParseAddr("192.0.2.1")
	ip2    = netip.MustParseAddr("192.0.2.2")
	ip6    = netip.MustParseAddr("2001:db8::1")
)

// desk is a table with a bridge and a clock of its own.
type desk struct {
	*snoop.Table
	t    testing.TB
	fdb  map[evpn.MAC]int32
	now  time.Time
	sent []snoop.Packet // probes
	did  []string       // changes and silences
}

func newDesk(t testing.TB, perMAC, perPort int) *desk {
	d := &desk{t: t, fdb: map[evpn.MAC]int32{}, now: time.Unix(1_000_000, 0)}
	d.Table = snoop.NewTable(func(_ evpn.VNI, mac evpn.MAC) int32 { return d.fdb[mac] })
	bridge := evpn.MAC{2, 0xff}
	d.Set(testVNI, snoop.Network{MaxPerMAC: perMAC, MaxPerPort: perPort, Prober: snoop.Station{MAC: bridge, IP: snoop.LinkLocal(bridge)}})
	return d
}

// learn is the bridge learning a MAC.
func (d *desk) learn(mac evpn.MAC, link int32) {
	d.fdb[mac] = link
	d.Learned(testVNI, mac, link, d.now)
	d.take()
}

// age is the bridge forgetting it.
func (d *desk) age(mac evpn.MAC) bool {
	d.fdb[mac] = 0
	defer d.take()
	return d.Aged(testVNI, mac, d.now)
}

func (d *desk) hear(link int32, kind snoop.Kind, mac evpn.MAC, ip netip.Addr) snoop.Reason {
	defer d.take()
	return d.Hear(snoop.Observation{VNI: testVNI, Link: link, Packet: snoop.Packet{Kind: kind, Source: mac, MAC: mac, IP: ip, Override: true}}, d.now)
}

func (d *desk) take() {
	e := d.Take()
	for _, c := range e.Changes {
		b, ok := d.Lookup(c.VNI, c.IP)
		assert.NotEqual(d.t, c.Gone, ok)
		if c.Gone {
			d.did = append(d.did, "gone "+c.IP.String())
		} else {
			d.did = append(d.did, fmt.Sprintf("%s %s %s", c.IP, b.MAC, b.Source))
		}
	}
	for _, s := range e.Silent {
		d.did = append(d.did, "silent "+s.MAC.String())
	}
	for _, f := range e.Frames {
		p, reason := snoop.Parse(f.Frame)
		require.Empty(d.t, reason)
		assert.Equal(d.t, d.linkOf(p.Dest), f.Link)
		d.sent = append(d.sent, p)
	}
	for _, n := range e.Notices {
		d.did = append(d.did, fmt.Sprintf("%s %d", n.Reason, n.Limit))
	}
}

// linkOf is the port of a host, also while the bridge has forgotten it.
func (d *desk) linkOf(mac evpn.MAC) int32 {
	if l := d.fdb[mac]; l != 0 {
		return l
	}
	return 1
}

// pass lets time go on, timer by timer.
func (d *desk) pass(span time.Duration) {
	end := d.now.Add(span)
	for next := d.Next(); !next.IsZero() && !next.After(end); next = d.Next() {
		require.False(d.t, next.Before(d.now.Add(-time.Hour)))
		if next.After(d.now) {
			d.now = next
		}
		d.Tick(d.now)
		d.take()
	}
	d.now = end
}

// want compares what was done since the last call.
func (d *desk) want(did ...string) {
	d.t.Helper()
	assert.Equal(d.t, did, d.did)
	d.did = nil
}

func (d *desk) probes() int {
	n := len(d.sent)
	d.sent = nil
	return n
}

func TestTableWaitsForTheBridge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 0, 0)
	// The packet comes before the bridge's event, and on another port than an older one.
	assert.Empty(t, d.hear(1, snoop.ARPRequest, tableA, ip1))
	d.want()
	d.learn(tableA, 2)
	d.want()
	d.learn(tableA, 1)
	d.want("192.0.2.1 02:00:00:00:00:0a arp")
	// A port that says so of a MAC that is elsewhere is not believed.
	assert.Empty(t, d.hear(2, snoop.ARPRequest, tableA, ip2))
	d.pass(3 * time.Second)
	d.want()
	assert.EqualValues(t, 1, d.Stats().Refused[snoop.NotLearned])
	assert.Zero(t, d.probes())
	// A move to another port is no news.
	d.learn(tableA, 3)
	d.want()
}

func TestTableMovesAddresses(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 0, 0)
	d.learn(tableA, 1)
	d.learn(tableB, 2)
	for range 2 {
		d.hear(1, snoop.ARPGratuitous, tableA, ip1)
		d.hear(2, snoop.ARPGratuitous, tableB, ip1)
	}
	d.want("192.0.2.1 02:00:00:00:00:0a arp", "192.0.2.1 02:00:00:00:00:0b arp", "192.0.2.1 02:00:00:00:00:0a arp", "192.0.2.1 02:00:00:00:00:0b arp")
	// Two hosts that fight for it do not make a route of every packet.
	var last snoop.Reason
	for range 10 {
		d.hear(1, snoop.ARPGratuitous, tableA, ip1)
		last = d.hear(2, snoop.ARPGratuitous, tableB, ip1)
	}
	assert.LessOrEqual(t, len(d.did), 2)
	assert.Equal(t, 1, d.Stats().Bindings)
	d.did = nil
	// One that has calmed down may move again.
	d.pass(11 * time.Second)
	owner, _ := d.Lookup(testVNI, ip1)
	other, link := tableA, int32(1)
	if owner.MAC == tableA {
		other, link = tableB, 2
		assert.Equal(t, snoop.Flapping, last)
	}
	assert.Empty(t, d.hear(link, snoop.ARPGratuitous, other, ip1))
	d.want(fmt.Sprintf("192.0.2.1 %s arp", other))
}

// A host whose address goes over to another MAC is asked for the rest: its interface may
// be another one now.
func TestTableDoubtsWhatIsLeft(t *testing.T) {
	t.Parallel()
	for _, alive := range []bool{true, false} {
		d := newDesk(t, 0, 0)
		d.learn(tableA, 1)
		d.learn(tableB, 1)
		d.hear(1, snoop.ARPGratuitous, tableA, ip1)
		d.hear(1, snoop.ARPGratuitous, tableA, ip2)
		d.hear(1, snoop.NAUnsolicited, tableA, ip6)
		d.did = nil
		d.hear(1, snoop.ARPGratuitous, tableB, ip1)
		require.Len(t, d.sent, 2)
		assert.ElementsMatch(t, []netip.Addr{ip2, ip6}, []netip.Addr{d.sent[0].Target, d.sent[1].Target})
		if alive {
			d.hear(1, snoop.ARPReply, tableA, ip2)
			d.hear(1, snoop.NA, tableA, ip6)
		}
		d.pass(5 * time.Second)
		if alive {
			d.want("192.0.2.1 02:00:00:00:00:0b arp")
		} else {
			assert.ElementsMatch(t, []string{"192.0.2.1 02:00:00:00:00:0b arp", "gone 192.0.2.2", "gone 2001:db8::1"}, d.did)
		}
	}
}

func TestTableLimits(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 3, 5)
	d.learn(tableA, 1)
	d.learn(tableB, 1)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	for i := range 10 {
		d.hear(1, snoop.ARPRequest, tableA, addr(i))
	}
	assert.EqualValues(t, 7, d.Stats().Refused[snoop.LimitMAC])
	for i := range 3 {
		d.hear(1, snoop.ARPRequest, tableB, addr(10+i))
	}
	assert.EqualValues(t, 1, d.Stats().Refused[snoop.LimitPort])
	assert.Equal(t, 5, d.Stats().Bindings)
	for i := range 3 {
		b, ok := d.Lookup(testVNI, addr(i))
		assert.True(t, ok && b.MAC == tableA, "those that were first stay")
	}
	assert.Contains(t, d.did, "limit_mac 3")
	assert.Contains(t, d.did, "limit_port 5")
	assert.Len(t, d.did, 5+2, "told once")
	assert.Len(t, d.Notices(testVNI, d.now), 2)
	assert.Empty(t, d.Notices(testVNI, d.now.Add(time.Hour)))

	// With a MAC its addresses go, and others have room.
	d.did = nil
	d.Forget(testVNI, tableA)
	d.take()
	assert.Len(t, d.did, 3)
	assert.Empty(t, d.Notices(testVNI, d.now), "there is room again")
	assert.Empty(t, d.hear(1, snoop.ARPRequest, tableB, addr(20)))
	// Claims that nobody proves are bounded, too.
	for i := range 1000 {
		d.hear(2, snoop.NSProbe, evpn.MAC{2, 9, byte(i >> 8), byte(i)}, ip6)
	}
	assert.EqualValues(t, 1000-256, d.Stats().Refused[snoop.TooManyClaims])
	d.pass(time.Minute)
	assert.Empty(t, d.hear(2, snoop.NSProbe, tableB, ip6), "they end")
}

// An address of the bridge itself goes to no host, whoever says so.
func TestTableKeepsTheBridgesOwn(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 0, 0)
	d.learn(tableA, 1)
	d.hear(1, snoop.ARPGratuitous, tableA, ip1)
	d.hear(1, snoop.ARPGratuitous, tableA, ip2)
	d.did = nil
	bridge := evpn.MAC{2, 0xff}
	network := snoop.Network{Prober: snoop.Station{MAC: bridge, IP: snoop.LinkLocal(bridge)}}
	network.Own = []netip.Addr{ip1, ip6}
	d.Set(testVNI, network)
	d.take()
	d.want("gone 192.0.2.1")

	assert.Equal(t, snoop.OwnAddress, d.hear(1, snoop.ARPGratuitous, tableA, ip1))
	assert.Equal(t, snoop.OwnAddress, d.hear(1, snoop.NA, tableA, ip6))
	assert.Equal(t, snoop.OwnAddress, d.hear(1, snoop.DHCPAck, tableA, ip1))
	assert.Empty(t, d.hear(1, snoop.NSProbe, tableA, ip6), "the bridge answers")
	d.want("own_address 0")
	d.pass(time.Minute)
	assert.Zero(t, d.probes())
	assert.Equal(t, 1, d.Stats().Bindings)
	require.Len(t, d.Notices(testVNI, d.now), 1)

	network.Own = nil
	d.Set(testVNI, network)
	assert.Empty(t, d.Notices(testVNI, d.now))
	assert.Empty(t, d.hear(1, snoop.ARPGratuitous, tableA, ip1))
}

func TestTableAsksForClaims(t *testing.T) {
	t.Parallel()
	for _, kind := range []snoop.Kind{snoop.NSProbe, snoop.DHCPAck} {
		t.Run(kind.String(), func(t *testing.T) {
			t.Parallel()
			// Asked sooner, the host would find that the address is in use.
			ip, proof, unproven := ip6, snoop.NA, time.Second // RetransTimer (RFC 4862 §5.1)
			if kind == snoop.DHCPAck {
				ip, proof, unproven = ip1, snoop.ARPReply, 7*time.Second // RFC 5227 §1.1, §2.1.1
			}
			d := newDesk(t, 0, 0)
			d.learn(tableA, 1)
			d.hear(1, kind, tableA, ip)
			d.pass(unproven)
			assert.Zero(t, d.probes())
			d.pass(time.Minute)
			assert.Equal(t, 3, d.probes())
			assert.True(t, d.Next().IsZero(), "nothing is left of it")
			d.want()

			d.hear(1, kind, tableA, ip)
			d.pass(unproven + time.Second)
			assert.Equal(t, 1, d.probes())
			d.hear(1, proof, tableA, ip)
			d.want(fmt.Sprintf("%s %s %s", ip, tableA, kind.Source()))
			assert.EqualValues(t, 1, d.Stats().Answers)
			// A renewal asks for nothing.
			d.hear(1, kind, tableA, ip)
			d.pass(time.Minute)
			assert.Zero(t, d.probes())
		})
	}
	d := newDesk(t, 0, 0)
	assert.Equal(t, snoop.NotLearned, d.hear(1, snoop.DHCPAck, tableA, ip1), "a client of somebody else")
}

func TestTableAgesAddresses(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 0, 0)
	d.learn(tableA, 1)
	d.hear(1, snoop.ARPRequest, tableA, ip1)
	d.hear(1, snoop.NAUnsolicited, tableA, ip6)
	d.did = nil
	// One that is heard of costs nothing.
	for range 10 {
		d.pass(5 * time.Minute)
		assert.Zero(t, d.probes())
		d.hear(1, snoop.ARPRequest, tableA, ip1)
		d.hear(1, snoop.NS, tableA, ip6)
	}
	// One that answers stays; the other goes alone.
	for range 20 {
		d.pass(time.Minute)
		for _, p := range d.sent {
			if p.Target == ip1 {
				d.hear(1, snoop.ARPReply, tableA, ip1)
			}
		}
		d.sent = nil
	}
	d.want("gone 2001:db8::1")
	assert.EqualValues(t, 1, d.Stats().Silent)
	assert.Positive(t, d.Stats().Answers)
}

func TestTableHoldsSilentMACs(t *testing.T) {
	t.Parallel()
	d := newDesk(t, 0, 0)
	d.learn(tableA, 1)
	assert.False(t, d.age(tableA), "nothing to ask for")
	d.learn(tableA, 1)
	d.hear(1, snoop.ARPRequest, tableA, ip1)
	d.hear(1, snoop.NAUnsolicited, tableA, ip6)
	d.did = nil

	assert.True(t, d.age(tableA))
	assert.Equal(t, 2, d.probes(), "at once, for all it has")
	d.pass(100 * time.Millisecond)
	d.hear(1, snoop.ARPReply, tableA, ip1) // comes before the bridge's event
	d.learn(tableA, 1)
	d.pass(time.Minute)
	d.want()
	assert.Zero(t, d.probes())
	assert.EqualValues(t, 1, d.Stats().Kept)

	began := d.now
	assert.True(t, d.age(tableA))
	d.pass(2 * time.Second)
	d.want()
	assert.Equal(t, 6, d.probes())
	d.pass(time.Second)
	d.want("silent 02:00:00:00:00:0a")
	assert.Less(t, d.now.Sub(began), 4*time.Second)
	d.Forget(testVNI, tableA)
	d.take()
	assert.ElementsMatch(t, []string{"gone 192.0.2.1", "gone 2001:db8::1"}, d.did)
	d.did = nil

	// A port that is down, or a network that ends, is not waited for.
	for _, end := range []func(){
		func() { d.Unhold(func(evpn.VNI, int32) bool { return false }) },
		func() { d.Remove(testVNI) },
	} {
		d.learn(tableA, 1)
		d.hear(1, snoop.ARPRequest, tableA, ip1)
		assert.True(t, d.age(tableA))
		d.Unhold(func(evpn.VNI, int32) bool { return true })
		d.did = nil
		end()
		d.take()
		assert.Contains(t, d.did, "silent 02:00:00:00:00:0a")
		assert.Zero(t, d.Stats().Held)
	}
	assert.Empty(t, d.Networks())
	assert.True(t, d.Next().IsZero())
}

// TestTableWalk does anything in any order and compares what was told with what is.
func TestTableWalk(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := newDesk(t, 4, 9)
		macs := make([]evpn.MAC, 5)
		for i := range macs {
			macs[i] = evpn.MAC{2, 0, 0, 0, 1, byte(i)}
		}
		ips := []netip.Addr{ip1, ip2, ip6, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("192.0.2.3"), netip.MustParseAddr("192.0.2.4")}
		kinds := []snoop.Kind{snoop.ARPRequest, snoop.ARPReply, snoop.ARPGratuitous, snoop.ARPProbe, snoop.NS, snoop.NSProbe, snoop.NA, snoop.DHCPAck}
		told := map[netip.Addr]string{}
		held := map[evpn.MAC]bool{}
		collect := func() {
			e := d.Take()
			for _, c := range e.Changes {
				if b, ok := d.Lookup(testVNI, c.IP); ok {
					told[c.IP] = b.MAC.String()
				} else {
					delete(told, c.IP)
				}
			}
			for _, s := range e.Silent {
				require.True(t, held[s.MAC], "seed %d", seed)
				delete(held, s.MAC)
				d.Forget(testVNI, s.MAC)
			}
		}
		for range 400 {
			mac, link := macs[r.IntN(len(macs))], int32(1+r.IntN(3))
			switch r.IntN(8) {
			case 0:
				d.fdb[mac] = link
				d.Learned(testVNI, mac, link, d.now)
				delete(held, mac)
			case 1:
				if d.fdb[mac] != 0 {
					d.fdb[mac] = 0
					if d.Aged(testVNI, mac, d.now) {
						held[mac] = true
					} else {
						d.Forget(testVNI, mac)
					}
				}
			case 2:
				d.fdb[mac] = 0
				delete(held, mac)
				d.Forget(testVNI, mac)
			case 3:
				d.now = d.now.Add(time.Duration(r.IntN(5000)) * time.Millisecond)
				d.Tick(d.now)
			case 4:
				d.now = d.now.Add(time.Duration(r.IntN(15)) * time.Minute)
				d.Tick(d.now)
			default:
				d.Hear(snoop.Observation{VNI: testVNI, Link: link, Packet: snoop.Packet{
					Kind: kinds[r.IntN(len(kinds))], Source: mac, MAC: mac, IP: ips[r.IntN(len(ips))], Override: r.IntN(2) == 0,
				}}, d.now)
			}
			collect()
			collect() // what forgetting did
			now := map[netip.Addr]string{}
			for _, ip := range ips {
				if b, ok := d.Lookup(testVNI, ip); ok {
					now[ip] = b.MAC.String()
					assert.True(t, d.fdb[b.MAC] != 0 || held[b.MAC], "seed %d: a binding of a MAC that is gone", seed)
				}
			}
			require.Equal(t, now, told, "seed %d", seed)
			s := d.Stats()
			require.Equal(t, len(now), s.Bindings, "seed %d", seed)
			require.Equal(t, len(held), s.Held, "seed %d", seed)
		}
		d.Remove(testVNI)
		collect()
		require.Empty(t, told, "seed %d", seed)
		require.True(t, d.Next().IsZero(), "seed %d: a timer is left", seed)
	}
}
