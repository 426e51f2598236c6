//go:build lab

package lab_test

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// guest is a host that exists as frames only.
type guest struct {
	mac      net.HardwareAddr
	ip4, ip6 string
}

func guests(n int) (out []guest) {
	for i := 1; i <= n; i++ {
		hi, lo := byte(i>>8), byte(i)
		out = append(out, guest{
			mac: net.HardwareAddr{2, 0, 0, 1, hi, lo},
			ip4: netip.AddrFrom4([4]byte{10, 99, hi, lo}).String(),
			ip6: netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: hi, 15: lo}).String(),
		})
	}
	return out
}

func gratuitousARP(mac net.HardwareAddr, ip string) []byte {
	return arpFrame(broadcastMAC, arpRequest, mac, ip, nil, ip)
}

var allNodes = netip.MustParseAddr("ff02::1")

func unsolicitedNA(mac net.HardwareAddr, ip string) []byte {
	return ndFrame(nil, mac, ip, allNodes, ndNeighborAdvertisement, ndOverride, ip, ndTargetMAC, mac)
}

func probeOf(mac net.HardwareAddr, target string) []byte {
	return arpFrame(broadcastMAC, arpRequest, mac, "0.0.0.0", nil, target)
}

// appear lets guests announce themselves behind a VTEP, again and again as hosts do, until
// another one answers for them. FRR 8.4 reads the neighbours of the bridge only, so that it
// is given those; permanent ones, for all namespaces together hold gc_thresh3 of others.
func (f *fabric) appear(near, far string, host *tap, all []guest) {
	f.t.Helper()
	if f.kind[near] == kindFRR {
		for some := range slices.Chunk(all, 250) {
			var batch strings.Builder
			for _, g := range some {
				for _, ip := range []string{g.ip4, g.ip6} {
					fmt.Fprintf(&batch, "neigh replace %s lladdr %s dev br100 nud permanent\n", ip, g.mac)
				}
			}
			f.sh(near, "ip -batch - <<END\n"+batch.String()+"END")
		}
	}
	// Not all at once: a socket holds so much, and announcements are not worth more.
	for some := range slices.Chunk(slices.Clone(all), 100) {
		eventually(f.t, convergence, "guests on "+far, func() error {
			rows := f.answersOf(far)
			some = slices.DeleteFunc(some, func(g guest) bool {
				return rows[g.ip4] == g.mac.String() && rows[g.ip6] == g.mac.String()
			})
			for _, g := range some {
				host.send(gratuitousARP(g.mac, g.ip4))
				host.send(unsolicitedNA(g.mac, g.ip6))
			}
			if len(some) > 0 {
				return fmt.Errorf("no rows for %d guests, the first is %s", len(some), some[0].mac)
			}
			return nil
		})
	}
}

// answersOf gives the addresses that a VTEP answers for, and their MACs.
func (f *fabric) answersOf(node string) map[string]string {
	f.t.Helper()
	rows := map[string]string{}
	for _, line := range strings.Split(f.do(node, "ip", "neigh", "show", "dev", "br100", "nud", "noarp"), "\n") {
		if ip, rest, ok := strings.Cut(line, " lladdr "); ok {
			rows[ip] = strings.Fields(rest)[0]
		}
	}
	return rows
}
