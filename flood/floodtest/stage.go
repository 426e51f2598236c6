package floodtest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// within is how long something may take that happens at once on an idle machine.
const within = 20 * time.Second

// Factory opens the engine under test; the suite starts and closes it.
type Factory func(t testing.TB, o flood.Options) flood.Engine

// stage is the relay and what is around it.
type stage struct {
	t                      testing.TB
	family                 family
	segment, relay, beyond *kerneltest.Namespace
	mac                    net.HardwareAddr // of u0
	hose                   *hose
	next                   uint32 // number of the next packet
}

func newStage(t testing.TB, f family) *stage {
	s := &stage{
		t: t, family: f, segment: kerneltest.NewNamespace(t), relay: kerneltest.NewNamespace(t),
		beyond: kerneltest.NewNamespace(t),
	}
	s.connect(s.segment, "s0", s.relay, "u0")
	s.connect(s.beyond, "v1", s.relay, "u1")
	s.address(s.relay, "u0", f.host(f.relay))
	s.address(s.relay, "u1", f.host(f.exit))
	s.address(s.beyond, "v1", f.host(f.gateway))
	s.address(s.beyond, "v1", f.host(f.near))
	s.address(s.relay, "lo", netip.PrefixFrom(f.service, f.bits()).String())
	s.relay.IP(t, "route", "add", f.vteps.String(), "via", f.gateway.String())
	s.relay.IP(t, "neigh", "replace", f.gateway.String(), "lladdr", hardware(t, s.beyond, "v1").String(), "dev", "u1", "nud", "permanent")
	// A wire has a queue. Without one, what the other end of a veth pair has no room for
	// is refused after taps have seen it, and an engine sends it again.
	tc(t, s.relay, "qdisc", "add", "dev", "u1", "root", "pfifo", "limit", "100000")
	s.openHose()
	return s
}

// connect joins two namespaces by a veth pair, both ends up, without offloads: packets
// look on it as they would on a wire.
func (s *stage) connect(a *kerneltest.Namespace, nameA string, b *kerneltest.Namespace, nameB string) {
	b.IP(s.t, "link", "add", nameB, "type", "veth", "peer", "name", nameA)
	move(s.t, b, nameA, a)
	setOffloads(s.t, a, nameA, 0)
	setOffloads(s.t, b, nameB, 0)
	a.IP(s.t, "link", "set", nameA, "up")
	b.IP(s.t, "link", "set", nameB, "up")
	ready(s.t, a, nameA)
	ready(s.t, b, nameB)
}

// ready waits until a device that is up does send: the kernel gives it a queue when its
// carrier has come (linkwatch), and until then throws away what is sent.
func ready(t testing.TB, ns *kerneltest.Namespace, dev string) {
	t.Helper()
	eventually(t, func() (string, bool) {
		shown := ns.IP(t, "link", "show", "dev", dev)
		return shown, strings.Contains(shown, "state UP") && !strings.Contains(shown, "qdisc noop ")
	})
}

func (s *stage) address(ns *kerneltest.Namespace, dev, prefix string) {
	args := []string{"addr", "add", prefix, "dev", dev}
	if s.family.six {
		args = append(args, "nodad")
	}
	ns.IP(s.t, args...)
}

func (s *stage) openHose() {
	s.mac = hardware(s.t, s.relay, "u0")
	s.hose = newHose(s.t, s.segment, "s0")
}

func hardware(t testing.TB, ns *kerneltest.Namespace, dev string) (mac net.HardwareAddr) {
	require.NoError(t, ns.Do(func() error {
		i, err := net.InterfaceByName(dev)
		if err == nil {
			mac = i.HardwareAddr
		}
		return err
	}))
	return mac
}

// vxlan makes a device that sends to the group, and a hose into it. It has no IPv6, so that
// nothing but what the hose gives leaves by it.
func (s *stage) vxlan(ns *kerneltest.Namespace, dev string, local netip.Addr, checksum string) *hose {
	ns.IP(s.t, "link", "add", "vx", "type", "vxlan", "id", fmt.Sprint(vni), "group", s.family.group.String(), "dev", dev,
		"local", local.String(), "dstport", fmt.Sprint(flood.Port), checksum)
	require.NoError(s.t, ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/vx/disable_ipv6", []byte("1"), 0) }))
	ns.IP(s.t, "link", "set", "vx", "up")
	return newHose(s.t, ns, "vx")
}

// options are those of an engine on the relay.
func (s *stage) options() flood.Options { return options(s.t, s.relay, "u0") }

func options(t testing.TB, ns *kerneltest.Namespace, dev string) flood.Options {
	log := logrus.New()
	log.SetOutput(t.Output())
	return flood.Options{Interface: dev, InNamespace: ns.Do, Log: logrus.NewEntry(log)}
}

// start starts an engine on the relay with a table; it is closed with the test.
func (s *stage) start(open Factory, table *flood.Table) flood.Engine {
	s.t.Helper()
	return launch(s.t, open, s.options(), table)
}

func launch(t testing.TB, open Factory, o flood.Options, table *flood.Table) flood.Engine {
	t.Helper()
	e := open(t, o)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			require.ErrorIs(t, err, os.ErrClosed)
		}
	})
	require.NoError(t, e.Start())
	require.NoError(t, e.Apply(table))
	return e
}

// packet is one from the leaf to the group, with the next number.
func (s *stage) packet(size int, c Checksum) *Packet {
	p := &Packet{
		DstMAC: GroupMAC(s.family.group), SrcMAC: net.HardwareAddr{0x02, 0xaa, 0, 0, 0, 1}, Source: s.family.leaf, To: s.family.group,
		SourcePort: 49152, Port: flood.Port, VNI: vni, TTL: 17, Checksum: c, Flags: 0x08000000, Inner: InnerFrame(s.next, size),
	}
	s.next++
	return p
}

// toService is one from elsewhere to the service address.
func (s *stage) toService(size int, c Checksum) *Packet {
	p := s.packet(size, c)
	p.DstMAC, p.Source, p.To = s.mac, s.family.far, s.family.service
	return p
}

// GroupMAC is RFC 1112 §6.4 and RFC 2464 §7.
func GroupMAC(group netip.Addr) net.HardwareAddr {
	b := group.AsSlice()
	if group.Is4() {
		return net.HardwareAddr{0x01, 0x00, 0x5e, b[1] & 0x7f, b[2], b[3]}
	}
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// send sends packets, and waits until the engine has heard of them in between: the
// veth pair holds no more than net.core.netdev_max_backlog.
func (s *stage) send(e flood.Engine, packets ...*Packet) {
	s.t.Helper()
	const chunk = 128
	heard := e.Counters().Total.Packets
	for len(packets) > 0 {
		n := min(chunk, len(packets))
		for _, p := range packets[:n] {
			s.hose.send(s.t, p)
		}
		packets = packets[n:]
		heard += uint64(n)
		s.await(e, "the engine hears what was sent", func(c flood.Counters) bool { return c.Total.Packets >= heard })
	}
}

func (s *stage) await(e flood.Engine, what string, ok func(flood.Counters) bool) {
	s.t.Helper()
	eventually(s.t, func() (string, bool) {
		c := e.Counters()
		return fmt.Sprintf("%s; counters: %+v", what, c.Total), ok(c)
	})
}

// eventually waits for a condition, which also says what it saw.
func eventually(t testing.TB, look func() (saw string, ok bool)) {
	t.Helper()
	var saw string
	require.Eventually(t, func() (ok bool) {
		saw, ok = look()
		return ok
	}, within, time.Millisecond, "last seen: %v", &lateString{&saw})
}

// lateString is read when it is printed.
type lateString struct{ s *string }

// String is for fmt.
func (l *lateString) String() string { return *l.s }
