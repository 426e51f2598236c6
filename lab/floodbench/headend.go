package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const headEndReplication = "head-end"

// headEnd is the kernel's own way: a bridge floods to a VXLAN device, whose all-zero row
// has a destination for each VTEP. It is fed with inner frames.
type headEnd struct {
	s     *stand
	vxlan int
	rows  int
}

func newHeadEnd(s *stand) (*headEnd, error) {
	links := s.replicator.Links
	snooping := false // it would send queries of its own
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br100"}, MulticastSnooping: &snooping}
	if err := links.LinkAdd(bridge); err != nil {
		return nil, fmt.Errorf("add bridge: %w", err)
	}
	vxlan := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan100"}, VxlanId: benchVNI, SrcAddr: exit.AsSlice(), Port: vxlanPort}
	if err := links.LinkAdd(vxlan); err != nil {
		return nil, fmt.Errorf("add VXLAN device: %w", err)
	}
	r0, err := links.LinkByName("r0")
	if err != nil {
		return nil, fmt.Errorf("find r0: %w", err)
	}
	err = errors.Join(links.LinkSetMaster(vxlan, bridge), links.LinkSetMaster(r0, bridge), links.LinkSetLearning(vxlan, false), links.LinkSetUp(vxlan), links.LinkSetUp(bridge))
	if err != nil {
		return nil, fmt.Errorf("join bridge and devices: %w", err)
	}
	return &headEnd{s: s, vxlan: vxlan.Attrs().Index}, nil
}

func (h *headEnd) list(n int) error {
	for ; h.rows < n; h.rows++ {
		if err := h.s.replicator.Links.NeighAppend(h.row(h.rows + 1)); err != nil {
			return fmt.Errorf("add destination %d: %w", h.rows+1, err)
		}
	}
	for ; h.rows > n; h.rows-- {
		if err := h.s.replicator.Links.NeighDel(h.row(h.rows)); err != nil {
			return fmt.Errorf("remove destination %d: %w", h.rows, err)
		}
	}
	return nil
}

func (h *headEnd) row(place int) *netlink.Neigh {
	return &netlink.Neigh{
		LinkIndex: h.vxlan, Family: unix.AF_BRIDGE, State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, Flags: netlink.NTF_SELF,
		HardwareAddr: make(net.HardwareAddr, 6), IP: vtepAt(place).AsSlice(),
	}
}

// cpu is none beyond that of the thread which receives.
func (h *headEnd) cpu() (time.Duration, error) { return 0, nil }

func (h *headEnd) pids() []int { return nil }

func (h *headEnd) stop() error { return nil }
