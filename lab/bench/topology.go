package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

// The one network all measurements use:
//
//	host a   host b   host c        192.0.2.1 .2 .3, MAC 02:aa:00:00:00:0X
//	  |        |        |
//	VTEP a   VTEP b   VTEP c        10.99.0.1 .2 .3, br100 + vxlan100
//	  |        |        |
//	--------- fabric ----------     one bridge, MTU 1600
//	           |
//	         peer 10.99.0.100       the scripted route reflector
const (
	asn       = 65000
	benchVNI  = 100
	bridge    = "br100"
	vxlan     = "vxlan100"
	accessMTU = 1500
)

var peerAddress = netip.MustParseAddr("10.99.0.100")

type vtep struct {
	*nsthread.Namespace
	index   int // 1..3
	address netip.Addr
	host    *nsthread.Namespace
	hostIf  int // ifindex of the host's interface
	access  int // ifindex of the access port h0
	vxlan   int // ifindex of vxlan100
	vnis    []int
}

func (v *vtep) hostMAC() net.HardwareAddr {
	return net.HardwareAddr{0x02, 0xaa, 0, 0, 0, byte(v.index)}
}

func (v *vtep) hostIP() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(v.index)}) }

type topology struct {
	fabric, peer *nsthread.Namespace
	vteps        []*vtep
	all          []*nsthread.Namespace
}

func (t *topology) close() {
	for _, n := range t.all {
		n.Close()
	}
}

func (t *topology) namespace(name string) (*nsthread.Namespace, error) {
	n, err := nsthread.New(name)
	if err == nil {
		t.all = append(t.all, n)
	}
	return n, err
}

// newTopology makes count VTEPs, each with a host and the devices of vnis.
func newTopology(count int, vnis []int) (t *topology, err error) {
	t = &topology{}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if t.fabric, err = t.namespace("fabric"); err != nil {
		return nil, err
	}
	fab := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "fab", MTU: 1600}}
	if err = t.addUp(t.fabric, fab); err != nil {
		return nil, err
	}
	if t.peer, err = t.namespace("peer"); err != nil {
		return nil, err
	}
	if _, err = t.attach(t.peer, "p", peerAddress); err != nil {
		return nil, err
	}
	for i := 1; i <= count; i++ {
		v := &vtep{index: i, address: netip.AddrFrom4([4]byte{10, 99, 0, byte(i)}), vnis: vnis}
		if v.Namespace, err = t.namespace(string(rune('a' + i - 1))); err != nil {
			return nil, err
		}
		if _, err = t.attach(v.Namespace, v.Name, v.address); err != nil {
			return nil, err
		}
		if v.host, err = t.namespace("host-" + v.Name); err != nil {
			return nil, err
		}
		if err = v.connectHost(); err != nil {
			return nil, err
		}
		for _, id := range vnis {
			if err = v.addVNI(id); err != nil {
				return nil, err
			}
		}
		if err = v.enslaveAccess(); err != nil {
			return nil, err
		}
		t.vteps = append(t.vteps, v)
	}
	return t, nil
}

func (t *topology) addUp(n *nsthread.Namespace, l netlink.Link) error {
	if err := n.Links.LinkAdd(l); err != nil {
		return fmt.Errorf("add %s to %s: %w", l.Attrs().Name, n.Name, err)
	}
	if err := n.Links.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s of %s up: %w", l.Attrs().Name, n.Name, err)
	}
	return nil
}

// attach gives n an interface eth0 with addr on the fabric.
func (t *topology) attach(n *nsthread.Namespace, port string, addr netip.Addr) (int, error) {
	fab, err := t.fabric.Links.LinkByName("fab")
	if err != nil {
		return 0, fmt.Errorf("find fabric bridge: %w", err)
	}
	index, err := veth(t.fabric, port, n, "eth0", 1600, nil)
	if err != nil {
		return 0, err
	}
	l, err := t.fabric.Links.LinkByName(port)
	if err != nil {
		return 0, fmt.Errorf("find port %s: %w", port, err)
	}
	if err := t.fabric.Links.LinkSetMaster(l, fab); err != nil {
		return 0, fmt.Errorf("enslave port %s: %w", port, err)
	}
	return index, addAddress(n, "eth0", netip.PrefixFrom(addr, 24))
}

// veth joins two namespaces and returns the index of the far end.
func veth(near *nsthread.Namespace, nearName string, far *nsthread.Namespace, farName string, mtu int, farMAC net.HardwareAddr) (int, error) {
	l := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nearName, MTU: mtu}, PeerName: farName,
		PeerNamespace: netlink.NsFd(far.FD()), PeerHardwareAddr: farMAC,
	}
	if err := near.Links.LinkAdd(l); err != nil {
		return 0, fmt.Errorf("join %s and %s: %w", near.Name, far.Name, err)
	}
	peer, err := far.Links.LinkByName(farName)
	if err != nil {
		return 0, fmt.Errorf("find %s in %s: %w", farName, far.Name, err)
	}
	err = errors.Join(near.Links.LinkSetUp(l), far.Links.LinkSetMTU(peer, mtu), far.Links.LinkSetUp(peer))
	return peer.Attrs().Index, err
}

func addAddress(n *nsthread.Namespace, device string, p netip.Prefix) error {
	l, err := n.Links.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", device, n.Name, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if err := n.Links.AddrAdd(l, a); err != nil {
		return fmt.Errorf("give %s of %s the address %s: %w", device, n.Name, p, err)
	}
	return nil
}

func (v *vtep) connectHost() error {
	var err error
	if v.hostIf, err = veth(v.Namespace, "h0", v.host, "eth0", accessMTU, v.hostMAC()); err != nil {
		return err
	}
	// The bench sends every frame of a host itself: no neighbour discovery of the
	// kernel may teach the VTEP the host's MAC first.
	if err := v.host.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("switch IPv6 off in %s: %w", v.host.Name, err)
	}
	if err := v.Sysctl("net/ipv6/conf/all/disable_ipv6", "1"); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("switch IPv6 off in %s: %w", v.Name, err)
	}
	return addAddress(v.host, "eth0", netip.PrefixFrom(v.hostIP(), 24))
}

// addVNI makes bridge and VXLAN device the way FRR's manual asks for them, so
// that both systems adopt the same devices.
func (v *vtep) addVNI(id int) error {
	// No ageing within a run: 100,000 idle MACs must not vanish in between.
	ageing := uint32(3000000)
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("br%d", id)}, AgeingTime: &ageing}
	if err := v.Links.LinkAdd(br); err != nil {
		return fmt.Errorf("add %s to %s: %w", br.Name, v.Name, err)
	}
	vx := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("vxlan%d", id), MTU: accessMTU},
		VxlanId:   id, SrcAddr: v.address.AsSlice(), Port: 4789, Learning: false,
	}
	if err := v.Links.LinkAdd(vx); err != nil {
		return fmt.Errorf("add %s to %s: %w", vx.Name, v.Name, err)
	}
	err := errors.Join(
		v.Links.LinkSetMaster(vx, br),
		v.Links.LinkSetLearning(vx, false),
		v.Links.LinkSetBrNeighSuppress(vx, true),
		v.Links.LinkSetUp(br),
		v.Links.LinkSetUp(vx),
	)
	if err != nil {
		return fmt.Errorf("set up VNI %d in %s: %w", id, v.Name, err)
	}
	if id == v.vnis[0] {
		v.vxlan = vx.Index
	}
	return nil
}

func (v *vtep) enslaveAccess() error {
	port, err := v.Links.LinkByName("h0")
	if err != nil {
		return fmt.Errorf("find access port of %s: %w", v.Name, err)
	}
	br, err := v.Links.LinkByName(fmt.Sprintf("br%d", v.vnis[0]))
	if err != nil {
		return fmt.Errorf("find bridge of %s: %w", v.Name, err)
	}
	v.access = port.Attrs().Index
	return v.Links.LinkSetMaster(port, br)
}

// reset removes what a run left. With many VNIs their devices stay (making a
// thousand anew takes a minute) and only the rows go.
func (v *vtep) reset() error {
	if len(v.vnis) == 1 {
		return v.clean()
	}
	var rows []netlink.Neigh
	err := dumpRows(v.Namespace, 0, func(device int, r row) {
		rows = append(rows, netlink.Neigh{
			LinkIndex: device, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
			HardwareAddr: r.mac[:], IP: r.dst.AsSlice(),
		})
	})
	if err != nil {
		return err
	}
	for i := range rows {
		if err := v.Links.NeighDel(&rows[i]); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("delete row of %s: %w", v.Name, err)
		}
	}
	return nil
}

// fixNeighbor gives v's host a permanent neighbour entry for the host of other.
func (v *vtep) fixNeighbor(other *vtep) error {
	err := v.host.Links.NeighSet(&netlink.Neigh{
		LinkIndex: v.hostIf, State: netlink.NUD_PERMANENT, IP: other.hostIP().AsSlice(), HardwareAddr: other.hostMAC(),
	})
	if err != nil {
		return fmt.Errorf("fix neighbour of %s: %w", v.host.Name, err)
	}
	return nil
}

// clean empties a VTEP: the devices of the first VNI are made anew,
// which empties both tables at once, and state of the next run starts from nothing.
func (v *vtep) clean() error {
	id := v.vnis[0]
	for _, name := range []string{fmt.Sprintf("vxlan%d", id), fmt.Sprintf("br%d", id)} {
		l, err := v.Links.LinkByName(name)
		if err != nil {
			return fmt.Errorf("find %s in %s: %w", name, v.Name, err)
		}
		if err := v.Links.LinkDel(l); err != nil {
			return fmt.Errorf("delete %s of %s: %w", name, v.Name, err)
		}
	}
	if err := v.addVNI(id); err != nil {
		return err
	}
	return v.enslaveAccess()
}
