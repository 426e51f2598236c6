package kerneltest

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// World is a host for one test: a kernel, and what happens around it.
type World interface {
	// Backend opens the kernel for one user; eventBuffer (bytes, 0 = large) bounds
	// the events that it can fall behind. It is closed with the test.
	Backend(t testing.TB, eventBuffer int) kernel.Backend
	// AddPort makes an Ethernet link whose other end is a host; it is up.
	AddPort(t testing.TB, name string, mtu int)
	SetAddress(t testing.TB, device string, ip netip.Addr, on bool)
	// SetPrefix is SetAddress for an address with others on its link.
	SetPrefix(t testing.TB, device string, p netip.Prefix, on bool)
	SetIPv6(t testing.TB, device string, on bool)
	// SetSourceCheck sets rp_filter of a link.
	SetSourceCheck(t testing.TB, device string, value uint8)
	// RestoreLocalRoute leads what is sent to an IPv6 group back to this host, as Linux
	// does for an address that stayed while its link was down (keep_addr_on_down).
	RestoreLocalRoute(t testing.TB, device string, group netip.Addr)
	// SetHost lets a host behind a port answer ARP and ND for an address, or no longer.
	SetHost(t testing.TB, port string, ip netip.Addr, mac evpn.MAC, on bool)
	SetRoute(t testing.TB, r Route)
	SetRoutes(t testing.TB, routes []Route)
	RemoveBlackholes(t testing.TB) // the IPv4 routes of this type, many at once
	RemoveRoute(t testing.TB, to netip.Prefix)
	// SetCarrier lets the host behind a port unplug its end, or plug it in again.
	SetCarrier(t testing.TB, port string, on bool)
	// Frame lets the host behind a port send a frame.
	Frame(t testing.TB, port string, mac evpn.MAC)
	// HostSends lets it send this one.
	HostSends(t testing.TB, port string, frame []byte)
	// HostHears takes the ARP and ND frames that came out of a port since the last call.
	HostHears(t testing.TB, port string) [][]byte
	// FDB and Neighbors print like bridge(8) and ip(8), without what no test is about.
	FDB(t testing.TB) []string
	Neighbors(t testing.TB) []string
}

// Factory makes a fresh World, or skips the test.
type Factory func(t testing.TB) World

// FakeWorld is a World in memory.
type FakeWorld struct{ *Fake }

// NewFakeWorld is a [Factory].
func NewFakeWorld(testing.TB) World { return FakeWorld{NewFake()} }

// Backend gives the fake itself; about 1 KiB of buffer holds one event, as in
// Linux (an event costs the buffer its skb, not its length).
func (w FakeWorld) Backend(_ testing.TB, eventBuffer int) kernel.Backend {
	w.mu.Lock()
	defer w.mu.Unlock()
	if eventBuffer != 0 {
		w.buffer = eventBuffer / 1024
	}
	return w.Fake
}

// AddPort makes a link.
func (w FakeWorld) AddPort(_ testing.TB, name string, mtu int) { w.AddDevice(name, mtu) }

// SetAddress adds or removes an address.
func (w FakeWorld) SetAddress(_ testing.TB, device string, ip netip.Addr, on bool) {
	w.Fake.SetAddress(device, ip, on)
}

// SetIPv6 turns IPv6 on a link on or off.
func (w FakeWorld) SetIPv6(_ testing.TB, device string, on bool) { w.Fake.SetIPv6(device, on) }

// Frame is a frame from a host.
func (w FakeWorld) Frame(_ testing.TB, port string, mac evpn.MAC) { w.Fake.Frame(port, mac) }

// HostSends is a frame from a host.
func (w FakeWorld) HostSends(_ testing.TB, port string, frame []byte) { w.Fake.HostSends(port, frame) }

// HostHears takes what a host heard.
func (w FakeWorld) HostHears(_ testing.TB, port string) [][]byte { return w.Fake.HostHears(port) }

// FDB prints the forwarding rows.
func (w FakeWorld) FDB(testing.TB) []string { return tidy(w.Fake.FDB()) }

// Neighbors prints the neighbours.
func (w FakeWorld) Neighbors(testing.TB) []string { return tidy(w.Fake.Neighbors()) }

// RealWorld is a World in a network namespace of its own.
type RealWorld struct {
	*Namespace
	ears *ears
}

// NewRealWorld is a [Factory].
func NewRealWorld(t testing.TB) World {
	ns := NewNamespace(t)
	w := RealWorld{ns, newEars(t, ns)}
	// Probes: without these kinds of links nothing can be tested here.
	w.IP(t, "link", "add", "probe0", "type", "bridge")
	w.IP(t, "link", "add", "probe1", "type", "vxlan", "id", "1", "dstport", "1")
	w.IP(t, "link", "del", "probe0")
	w.IP(t, "link", "del", "probe1")
	return w
}

// Backend opens netlink sockets.
func (w RealWorld) Backend(t testing.TB, eventBuffer int) kernel.Backend {
	b, err := kernel.NewNetlink(kernel.NetlinkOptions{Namespace: w.Handle(), EventBuffer: eventBuffer})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Close()) })
	return b
}

// AddPort makes a veth pair: name, and name with "-host" behind it.
func (w RealWorld) AddPort(t testing.TB, name string, mtu int) {
	host := name + "-host"
	w.IP(t, "link", "add", name, "mtu", strconv.Itoa(mtu), "type", "veth", "peer", "name", host, "mtu", strconv.Itoa(mtu))
	for _, l := range []string{name, host} {
		w.IP(t, "link", "set", l, "addrgenmode", "none")
		w.IP(t, "link", "set", l, "up")
	}
	w.ears.add(t, name)
}

// SetAddress adds or removes an address.
func (w RealWorld) SetAddress(t testing.TB, device string, ip netip.Addr, on bool) {
	w.SetPrefix(t, device, netip.PrefixFrom(ip, ip.BitLen()), on)
}

// SetPrefix adds or removes an address with the prefix of its link.
func (w RealWorld) SetPrefix(t testing.TB, device string, p netip.Prefix, on bool) {
	verb := "add"
	if !on {
		verb = "del"
	}
	args := []string{"addr", verb, p.String(), "dev", device}
	if on && p.Addr().Is6() {
		args = append(args, "nodad")
	}
	w.IP(t, args...)
}

// SetIPv6 writes the sysctl disable_ipv6 of a link.
func (w RealWorld) SetIPv6(t testing.TB, device string, on bool) {
	value := "1"
	if on {
		value = "0"
	}
	w.Sysctl(t, "ipv6/conf/"+device+"/disable_ipv6", value)
}

// SetSourceCheck writes the sysctl rp_filter of a link.
func (w RealWorld) SetSourceCheck(t testing.TB, device string, value uint8) {
	w.Sysctl(t, "ipv4/conf/"+device+"/rp_filter", strconv.Itoa(int(value)))
}

// Sysctl writes a setting below net.
func (w RealWorld) Sysctl(t testing.TB, name, value string) {
	require.NoError(t, w.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0) }))
}

// RestoreLocalRoute adds the route. Of routes to this host alone nobody is told; an
// address that comes and goes stands for what is told of the link.
func (w RealWorld) RestoreLocalRoute(t testing.TB, device string, group netip.Addr) {
	w.IP(t, "-6", "route", "add", "local", group.String(), "dev", device, "table", "local", "metric", "1")
	other := netip.MustParseAddr("2001:db8:ffff::1")
	w.SetAddress(t, device, other, true)
	w.SetAddress(t, device, other, false)
}

// SetHost lets the far end of a pair answer.
func (w RealWorld) SetHost(t testing.TB, port string, ip netip.Addr, mac evpn.MAC, on bool) {
	w.ears.setHost(t, port, ip, mac, on)
}

// Frame sends a broadcast of an experimental EtherType from the far end of the pair.
func (w RealWorld) Frame(t testing.TB, port string, mac evpn.MAC) {
	frame := make([]byte, 60)
	copy(frame, snoop.BroadcastMAC[:])
	copy(frame[6:], mac[:])
	frame[12], frame[13] = 0x88, 0xb5
	w.HostSends(t, port, frame)
}

// HostSends sends a frame from the far end of the pair.
func (w RealWorld) HostSends(t testing.TB, port string, frame []byte) {
	require.NoError(t, w.ears.taps.Send(w.ears.link(t, port), frame))
}

// HostHears takes what the far end of the pair heard.
func (w RealWorld) HostHears(t testing.TB, port string) [][]byte { return w.ears.take(t, port) }

// FDB prints the forwarding rows.
func (w RealWorld) FDB(t testing.TB) []string {
	return tidy(strings.Split(w.BridgeTool(t, "fdb"), "\n"))
}

// Neighbors prints the neighbours of bridges.
func (w RealWorld) Neighbors(t testing.TB) []string {
	var out []string
	for _, l := range strings.Split(w.IP(t, "neigh"), "\n") {
		if strings.Contains(l, " dev br") {
			out = append(out, l)
		}
	}
	return tidy(out)
}
