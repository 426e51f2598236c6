package lab

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// connect makes the veth pair of a link, born inside the two nodes: nothing of it is
// ever seen in the machine's own namespace.
func connect(lab string, l Link, a, b process) error {
	nsA, err := netns.GetFromPid(a.PID)
	if err != nil {
		return fmt.Errorf("link %s to %s: open namespace of %s: %w", l.A, l.B, l.A.Node, err)
	}
	defer nsA.Close()
	nsB, err := netns.GetFromPid(b.PID)
	if err != nil {
		return fmt.Errorf("link %s to %s: open namespace of %s: %w", l.A, l.B, l.B.Node, err)
	}
	defer nsB.Close()
	hA, err := netlink.NewHandleAt(nsA)
	if err != nil {
		return fmt.Errorf("link %s to %s: %w", l.A, l.B, err)
	}
	defer hA.Close()
	hB, err := netlink.NewHandleAt(nsB)
	if err != nil {
		return fmt.Errorf("link %s to %s: %w", l.A, l.B, err)
	}
	defer hB.Close()

	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = l.A.Interface, l.MTU, macOf(lab, l.A)
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: l.B.Interface, PeerHardwareAddr: macOf(lab, l.B),
		PeerNamespace: netlink.NsFd(int(nsB)), PeerMTU: uint32(l.MTU)}
	if err := hA.LinkAdd(veth); err != nil {
		return fmt.Errorf("link %s to %s: %w", l.A, l.B, err)
	}
	for _, end := range []struct {
		h *netlink.Handle
		e Endpoint
	}{{hA, l.A}, {hB, l.B}} {
		link, err := end.h.LinkByName(end.e.Interface)
		if err != nil {
			return fmt.Errorf("find %s: %w", end.e, err)
		}
		if err := end.h.LinkSetUp(link); err != nil {
			return fmt.Errorf("set %s up: %w", end.e, err)
		}
	}
	return nil
}

// macOf gives an interface the same address at every start, under the prefix that
// containerlab uses (aa:c1:ab, locally administered), so that captures and tables compare.
func macOf(lab string, e Endpoint) net.HardwareAddr {
	sum := sha256.Sum256([]byte(lab + "/" + e.String()))
	return net.HardwareAddr{0xaa, 0xc1, 0xab, sum[0], sum[1], sum[2]}
}

// loopbackUp does what a container engine does with lo.
func loopbackUp(h process) error {
	ns, err := netns.GetFromPid(h.PID)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer nl.Close()
	lo, err := nl.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo: %w", err)
	}
	if err := nl.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}

// interfaces lists those of a node but lo without addresses of note.
func interfaces(pid int) ([]Interface, error) {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	defer h.Close()
	links, err := retryDump(h.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	addrs, err := retryDump(func() ([]netlink.Addr, error) { return h.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	of := map[int][]netlink.Addr{}
	for _, a := range addrs {
		of[a.LinkIndex] = append(of[a.LinkIndex], a)
	}
	out := []Interface{}
	for _, l := range links {
		i := Interface{Name: l.Attrs().Name, Up: l.Attrs().Flags&net.FlagUp != 0, Addresses: []netip.Prefix{}}
		for _, a := range of[l.Attrs().Index] {
			ip, _ := netip.AddrFromSlice(a.IP)
			ip = ip.Unmap()
			if ip.IsLoopback() || ip.IsLinkLocalUnicast() {
				continue
			}
			bits, _ := a.Mask.Size()
			i.Addresses = append(i.Addresses, netip.PrefixFrom(ip, bits))
		}
		if i.Name == "lo" && len(i.Addresses) == 0 {
			continue
		}
		slices.SortFunc(i.Addresses, func(x, y netip.Prefix) int { return x.Addr().Compare(y.Addr()) })
		out = append(out, i)
	}
	slices.SortFunc(out, func(x, y Interface) int { return strings.Compare(x.Name, y.Name) })
	return out, nil
}

// dumpPatience is how long listings are repeated: a daemon in the namespace may be at work on thousands of devices.
const dumpPatience = 10 * time.Second

// retryDump repeats a listing that a change in the kernel interrupted.
func retryDump[T any](dump func() ([]T, error)) ([]T, error) {
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for end := time.Now().Add(dumpPatience); ; <-again.C {
		out, err := dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) || time.Now().After(end) {
			return out, err
		}
	}
}

// attachName makes the node's network namespace known to `ip netns`. The ip command
// does it, as it shares the mount of /run/netns in a way others rely on.
func attachName(name string, pid int) error {
	if out, err := exec.Command("ip", "netns", "attach", name, fmt.Sprint(pid)).CombinedOutput(); err != nil {
		return fmt.Errorf("name network namespace %s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// deleteLinks removes the pairs of a namespace before it goes: the kernel
// removes a dead namespace's interfaces only some time later, and until then the other end stays.
func deleteLinks(name string) error {
	ns, err := netns.GetFromName(name)
	if err != nil {
		return nil // no such name: nothing of ours
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		return fmt.Errorf("open netlink in %s: %w", name, err)
	}
	defer h.Close()
	links, err := retryDump(h.LinkList)
	if err != nil {
		return fmt.Errorf("list links in %s: %w", name, err)
	}
	var errs []error
	for _, l := range links {
		if l.Type() != "veth" {
			continue
		}
		var gone netlink.LinkNotFoundError
		if err := h.LinkDel(l); err != nil && !errors.As(err, &gone) && !isNoDevice(err) {
			errs = append(errs, fmt.Errorf("delete %s in %s: %w", l.Attrs().Name, name, err))
		}
	}
	return errors.Join(errs...)
}
