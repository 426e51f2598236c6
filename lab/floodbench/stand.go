package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

const (
	vxlanPort = 4789
	benchVNI  = 100
)

var (
	leaf     = netip.MustParseAddr("10.0.1.2")   // who sends
	entry    = netip.MustParseAddr("10.0.1.1")   // of the replicator at r0
	service  = netip.MustParseAddr("10.255.0.1") // where it listens
	exit     = netip.MustParseAddr("10.0.2.1")   // of the replicator at r1
	gateway  = netip.MustParseAddr("10.0.2.2")   // on the way to the VTEPs
	vteps    = netip.MustParsePrefix("10.9.0.0/16")
	farMAC   = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x99} // the gateway's: the sink asks nobody
	entryMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01} // of r0
)

// vtepAt is the address of the VTEP whose copies the sink counts at a place.
func vtepAt(place int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 9, byte(place >> 8), byte(place)})
}

// stand is where one method is measured.
type stand struct {
	generator, replicator, sink *nsthread.Namespace
	counter                     *sink
	source                      *source
	poller                      int // the kernel thread that receives on r0
}

func newStand(bare bool) (s *stand, err error) {
	s = &stand{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for name, n := range map[string]**nsthread.Namespace{"generator": &s.generator, "replicator": &s.replicator, "sink": &s.sink} {
		if *n, err = nsthread.New(name); err != nil {
			return nil, err
		}
		if err = (*n).Sysctl("net/ipv6/conf/all/disable_ipv6", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("turn off IPv6, whose own packets would count: %w", err)
		}
		// Nobody but the method wants the frames. No closed port is to answer each with an ICMP error, to no one.
		if err = (*n).Sysctl("net/ipv4/icmp_msgs_per_sec", "0"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("turn off ICMP errors: %w", err)
		}
	}
	if err = veth(s.generator, "g0", s.replicator, "r0", entryMAC); err != nil {
		return nil, err
	}
	if err = veth(s.replicator, "r1", s.sink, "s0", farMAC); err != nil {
		return nil, err
	}
	if err = s.address(bare); err != nil {
		return nil, err
	}
	// A wire takes packets one by one.
	if err = s.replicator.Do(func() error { return setFeatures("r1", false, "tx-udp-segmentation") }); err != nil {
		return nil, err
	}
	// What comes from a device that segments is not polled for (veth_skb_is_eligible_for_gro).
	if err = s.generator.Do(func() error {
		return setFeatures("g0", false, "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation")
	}); err != nil {
		return nil, err
	}
	if s.poller, err = receiveInThread(s.replicator, "r0"); err != nil {
		return nil, err
	}
	if err = pin(s.poller, theirs); err != nil {
		return nil, err
	}
	if s.counter, err = newSink(s); err != nil {
		return nil, err
	}
	s.source, err = newSource(s.generator, "g0", bare)
	return s, err
}

func (s *stand) address(bare bool) error {
	if err := addAddress(s.replicator, "r1", netip.PrefixFrom(exit, 24)); err != nil {
		return err
	}
	if !bare { // else r0 is a port of a bridge
		if err := errors.Join(addAddress(s.replicator, "r0", netip.PrefixFrom(entry, 24)), addAddress(s.replicator, "lo", netip.PrefixFrom(service, 32))); err != nil {
			return err
		}
	}
	r1, err := indexOf(s.replicator, "r1")
	if err != nil {
		return err
	}
	if err := s.replicator.Links.NeighSet(&netlink.Neigh{LinkIndex: r1, State: netlink.NUD_PERMANENT, IP: gateway.AsSlice(), HardwareAddr: farMAC}); err != nil {
		return fmt.Errorf("name the gateway's MAC: %w", err)
	}
	to := &net.IPNet{IP: vteps.Addr().AsSlice(), Mask: net.CIDRMask(vteps.Bits(), 32)}
	if err := s.replicator.Links.RouteAdd(&netlink.Route{LinkIndex: r1, Dst: to, Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("add route to the VTEPs: %w", err)
	}
	return nil
}

func (s *stand) close() {
	if s.source != nil {
		s.source.close()
	}
	if s.counter != nil {
		s.counter.close()
	}
	for _, n := range []*nsthread.Namespace{s.generator, s.replicator, s.sink} {
		if n != nil {
			n.Close()
		}
	}
}

// received is how many frames r0 has taken, ever.
func (s *stand) received() (uint64, error) {
	l, err := s.replicator.Links.LinkByName("r0")
	if err != nil {
		return 0, fmt.Errorf("read counters of r0: %w", err)
	}
	return l.Attrs().Statistics.RxPackets, nil
}

func veth(near *nsthread.Namespace, nearName string, far *nsthread.Namespace, farName string, mac net.HardwareAddr) error {
	l := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nearName, MTU: 1600, NumTxQueues: 1, NumRxQueues: 1}, PeerName: farName,
		PeerNamespace: netlink.NsFd(far.FD()), PeerHardwareAddr: mac, PeerMTU: 1600, PeerNumTxQueues: 1, PeerNumRxQueues: 1,
	}
	if err := near.Links.LinkAdd(l); err != nil {
		return fmt.Errorf("join %s and %s: %w", near.Name, far.Name, err)
	}
	peer, err := far.Links.LinkByName(farName)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", farName, far.Name, err)
	}
	return errors.Join(near.Links.LinkSetUp(l), far.Links.LinkSetUp(peer))
}

func addAddress(n *nsthread.Namespace, device string, p netip.Prefix) error {
	l, err := n.Links.LinkByName(device)
	if err != nil {
		return fmt.Errorf("find %s in %s: %w", device, n.Name, err)
	}
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if err := n.Links.AddrAdd(l, a); err != nil {
		return fmt.Errorf("add %s to %s in %s: %w", p, device, n.Name, err)
	}
	return nil
}

func indexOf(n *nsthread.Namespace, device string) (int, error) {
	l, err := n.Links.LinkByName(device)
	if err != nil {
		return 0, fmt.Errorf("find %s in %s: %w", device, n.Name, err)
	}
	return l.Attrs().Index, nil
}

// receiveInThread has a kernel thread of its own receive on a veth, and gives its number.
// Without one the sender's processor receives.
func receiveInThread(n *nsthread.Namespace, device string) (int, error) {
	before, err := pollers(device)
	if err != nil {
		return 0, err
	}
	err = n.Do(func() error {
		// A veth polls when it merges (veth_set_features).
		if err := setFeatures(device, true, "rx-gro"); err != nil {
			return err
		}
		// sysfs shows the namespace in which it was mounted. The thread is ours alone.
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("leave the common mounts: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			return fmt.Errorf("mount sysfs: %w", err)
		}
		return os.WriteFile("/sys/class/net/"+device+"/threaded", []byte("1"), 0o644)
	})
	if err != nil {
		return 0, fmt.Errorf("receive on %s in a thread: %w", device, err)
	}
	after, err := pollers(device)
	if err != nil {
		return 0, err
	}
	for pid := range after {
		if !before[pid] {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("receive on %s in a thread: there is no new kernel thread napi/%s", device, device)
}

// pollers are the kernel threads that receive on devices of a name, in whatever namespace.
func pollers(device string) (map[int]bool, error) {
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, fmt.Errorf("list kernel threads: %w", err)
	}
	found := map[int]bool{}
	for _, file := range names {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(text), "napi/"+device) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, fmt.Errorf("list kernel threads: %w", err)
		}
		found[pid] = true
	}
	return found, nil
}

// setFeatures is `ethtool -K` in the namespace of the thread.
func setFeatures(device string, on bool, names ...string) error {
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return fmt.Errorf("open ethtool: %w", err)
	}
	defer tool.Close()
	features := map[string]bool{}
	for _, name := range names {
		features[name] = on
	}
	if err := tool.Change(device, features); err != nil {
		return fmt.Errorf("set %v of %s: %w", names, device, err)
	}
	return nil
}
