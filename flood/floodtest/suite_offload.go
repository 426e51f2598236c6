package floodtest

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

// testInner: frames whose checksums and segments their host left to a device are copied
// as they would have left it, whether this host's VXLAN device sent them or one that shares
// memory with us.
func testInner(t *testing.T, open Factory, f family) {
	for _, slow := range []bool{false, true} {
		for _, checksum := range []string{"udpcsum", "noudpcsum"} {
			if f.six && checksum == "noudpcsum" {
				continue // not what udp6zerocsumtx is for
			}
			name := checksum
			if slow {
				name += ", slow wire"
			}
			t.Run(name, func(t *testing.T) { sendInner(t, open, f, checksum, slow) })
		}
	}
}

// countOf is the count of a network.
func countOf(e flood.Engine, network evpn.VNI) (count flood.Count) {
	for _, n := range e.Counters().Networks {
		if n.VNI == network {
			count = n.Count
		}
	}
	return count
}

// sendInner has, when slow, an egress queue that takes a few copies only, so that the eBPF
// engine leaves the rest to its sender.
func sendInner(t *testing.T, open Factory, f family, checksum string, slow bool) {
	s := newStage(t, f)
	setOffloads(t, s.segment, "s0", 1)
	setOffloads(t, s.relay, "u0", 1)
	s.address(s.segment, "s0", f.host(f.leaf))
	out := newTap(t, s.relay, "u1")
	to := f.list(16)
	if slow {
		tc(t, s.relay, "qdisc", "replace", "dev", "u1", "root", "tbf", "rate", "100mbit", "burst", "4k", "limit", "6k")
	}
	other := f.onGroup(f.list(18)[16:]...)
	other.VNI = vni + 1
	e := s.start(open, f.table(f.onGroup(to...), other))
	sizes := map[string]int{"one": 0, "segments": 700}
	for name, ns := range map[string]*kerneltest.Namespace{"own": s.relay, "of the segment": s.segment} {
		local, dev := f.relay, "u0"
		if ns == s.segment {
			local, dev = f.leaf, "s0"
		}
		device := s.vxlan(ns, dev, local, checksum)
		for kind, size := range sizes {
			for _, inner := range []Inner{{}, {Six: true}, {UDP: true}, {UDP: true, Six: true}} {
				inner.ID, inner.Sequence, inner.Flags = 100, 7000, tcpACK|tcpPSH|tcpFIN|tcpCWR
				inner.Data = InnerFrame(uint32(size), 1000+3*size)
				want := [][]byte{inner.Bytes(false)}
				if size > 0 {
					want = nil
					inner.pose(size, vni+1)
					for _, part := range inner.Segments(size) {
						want = append(want, part.Bytes(false))
					}
				}
				what := fmt.Sprintf("%s, %s: %+v", name, kind, inner)[:60]
				device.write(t, append(inner.vnet(size), inner.Bytes(true)...))
				var copies []leaving
				eventually(t, func() (string, bool) {
					copies = append(copies, out.take(t)...)
					return fmt.Sprintf("%s: %d copies; %+v", what, len(copies), e.Counters().Total), len(copies) >= len(to)*len(want)
				})
				assert.Zero(t, countOf(e, vni+1).Packets, "%s: what is within a frame is no packet", what)
				for _, a := range to {
					var got [][]byte
					for _, c := range copies {
						// A zero one may be right: the kernel, where it segments, can make no other.
						assert.True(t, c.checksummed || checksum == "noudpcsum", what)
						if c.to == a {
							got = append(got, c.payload[vxlanLength:])
						}
					}
					assert.True(t, slices.EqualFunc(got, want, slices.Equal), "%s: %d copies, not %d, or they differ", what, len(got), len(want))
				}
			}
		}
	}
}
