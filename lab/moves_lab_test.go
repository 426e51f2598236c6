//go:build lab

package lab_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const roamerIP = "192.168.100.50"

// moveCasts are who plays when hosts move: one implementation alone, and FRR as the place
// left, the place reached, and the third party.
var moveCasts = []map[string]string{
	{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindVTEPBGP, "vc": kindVTEPBGP},
	{"rr": kindFRR, "va": kindVTEPBGP, "vb": kindFRR, "vc": kindVTEPBGP},
	{"rr": kindFRR, "va": kindVTEPBGP, "vb": kindVTEPBGP, "vc": kindFRR},
}

func castName(kind map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(kind)) {
		parts = append(parts, k+"="+kind[k])
	}
	return strings.Join(parts, ",")
}

// TestMoves follows hosts that change their place, between all three VTEPs.
func TestMoves(t *testing.T) {
	t.Parallel()
	for _, kind := range moveCasts {
		t.Run(castName(kind), func(t *testing.T) {
			t.Parallel()
			// More moves in a minute than duplicate detection allows are this test's own doing.
			config := map[string]string{}
			for name := range kind {
				config[name] = "[duplicate_detection]\nmoves = 0\n"
			}
			f := stage{kind: kind, roamers: true, config: config}.build(t)
			eventually(t, convergence, "all hosts", func() error {
				return f.pingAll(map[string]string{"h1": "192.168.100.1", "h2": "192.168.100.2", "h3": "192.168.100.3"}, 1)
			})
			f.inTurn(t, []part{
				{"there and back", thereAndBack},
				{"several addresses", severalAddresses},
				{"address moves to another MAC", addressMoves},
				{"port flap", portFlap},
				{"sticky stays", stickyStays},
			})
		})
	}
}

// site is one VTEP and what is behind it.
type site struct{ vtep, addr, host, roamer, hostIP string }

func (f *fabric) sites() []site {
	var out []site
	for _, p := range players {
		if p.host != "" && f.kind[p.name] != "" {
			out = append(out, site{p.name, p.addr, "h" + p.host, "r" + p.host, "192.168.100." + p.host})
		}
	}
	return out
}

// roam has the roaming host appear at a site, with its addresses, and fall silent at the
// others: the way of a virtual machine that is moved. Its first frame is a gratuitous ARP.
func (f *fabric) roam(to site, ips ...string) {
	f.t.Helper()
	for _, s := range f.sites() {
		if s != to {
			f.sh(s.roamer, "ip addr flush dev eth1 scope global; ip link set eth1 address 02:00:00:00:ee:0"+s.host[1:])
		}
	}
	f.do(to.roamer, "ip", "link", "set", "eth1", "address", roamerMAC)
	for _, ip := range ips {
		f.do(to.roamer, "ip", "addr", "replace", ip+"/24", "dev", "eth1")
		f.announce(to.roamer, roamerMAC, ip)
	}
}

// announce has a host say to all that it has an address (RFC 5227 §2.3).
func (f *fabric) announce(host, mac, ip string) {
	f.t.Helper()
	f.openTap(host, "eth1").send(arpFrame(broadcastMAC, arpRequest, hwAddr(mac), ip, nil, ip))
}

// settled checks that the roaming host is local at one site and remote, behind that site,
// at all others.
func (f *fabric) settled(at site, sequence uint32) func() error {
	return func() error {
		rows, err := f.fdb(at.vtep, "eth3", roamerMAC)
		if err != nil {
			return err
		}
		if len(rows) != 1 || strings.Contains(rows[0], "extern_learn") {
			return fmt.Errorf("%s on eth3 of %s: %q", roamerMAC, at.vtep, rows)
		}
		for _, s := range f.sites() {
			if s == at {
				continue
			}
			if err := f.wantFDB(s.vtep, roamerMAC, remoteRows(roamerMAC, at.addr))(); err != nil {
				return err
			}
			rt, found, err := f.macRoute(s.vtep, roamerMAC)
			if err != nil {
				return err
			}
			if want := (route{Sequence: sequence, NextHop: at.addr}); !found || rt != want {
				return fmt.Errorf("route on %s: found %v %+v, want %+v", s.vtep, found, rt, want)
			}
		}
		return nil
	}
}

// A→B, A→B→A, and on to C: each move raises the sequence by one (RFC 7432 §15), all VTEPs
// point to the new place, and the host is reached there at once.
func thereAndBack(t *testing.T, f *fabric) {
	s := f.sites()
	for seq, at := range []site{s[0], s[1], s[0], s[2], s[1]} {
		f.roam(at, roamerIP)
		eventually(t, convergence, fmt.Sprintf("move %d to %s", seq, at.vtep), f.settled(at, uint32(seq)))
		for _, from := range s {
			eventually(t, convergence, "first answer at the new place", func() error { return f.ping(from.host, roamerIP, 1) })
			require.NoError(t, f.ping(from.host, roamerIP, 10), "from %s", from.host)
		}
	}
}

// A port that goes down takes its MACs with it, and only those; when it is back and the
// host speaks, they are back.
func portFlap(t *testing.T, f *fabric) {
	s := f.sites()
	at := s[0]
	f.roam(at, roamerIP)
	eventually(t, convergence, "roamer", func() error { return f.ping(s[2].host, roamerIP, 1) })
	stays := make(chan error, 1)
	go func() { stays <- f.ping(s[1].host, at.hostIP, 150) }()
	for range 3 {
		f.do(at.vtep, "ip", "link", "set", "eth3", "down")
		for _, o := range s[1:] {
			eventually(t, convergence, "withdrawn at "+o.vtep, f.wantFDB(o.vtep, roamerMAC, nil))
		}
		f.do(at.vtep, "ip", "link", "set", "eth3", "up")
		f.roam(at, roamerIP)
		for _, o := range s[1:] {
			eventually(t, convergence, "back at "+o.vtep, f.wantFDB(o.vtep, roamerMAC, remoteRows(roamerMAC, at.addr)))
		}
		eventually(t, convergence, "answers again", func() error { return f.ping(s[2].host, roamerIP, 1) })
	}
	require.NoError(t, <-stays, "a host on another port of the same bridge")
}

// A sticky MAC that speaks elsewhere moves nobody's row: the VTEP that sees it there says
// so and keeps quiet (RFC 7432 §15.2).
func stickyStays(t *testing.T, f *fabric) {
	s := f.sites()
	home, other := s[0], s[1]
	f.do(home.vtep, "bridge", "fdb", "replace", roamerMAC, "dev", "eth3", "master", "static", "sticky")
	rows := func() error {
		for _, o := range s[1:] {
			want := stickyRows(roamerMAC, home.addr)
			if f.kind[o.vtep] == kindFRR {
				// FRR 8.4 replaces the row in place, and the kernel keeps the old mark.
				want[1] = strings.Replace(want[1], "sticky", "extern_learn sticky", 1)
			}
			if err := f.wantFDB(o.vtep, roamerMAC, want)(); err != nil {
				return err
			}
		}
		return nil
	}
	eventually(t, convergence, "sticky elsewhere", rows)
	f.roam(other, roamerIP)
	holds(t, 2*time.Second, "sticky rows", func() error {
		f.announce(other.roamer, roamerMAC, roamerIP)
		return rows()
	})
	f.do(home.vtep, "bridge", "fdb", "del", roamerMAC, "dev", "eth3", "master")
	f.roam(home, roamerIP)
	for _, o := range s[1:] {
		eventually(t, convergence, "ordinary again at "+o.vtep, func() error {
			rt, found, err := f.macRoute(o.vtep, roamerMAC)
			switch {
			case err != nil:
				return err
			case !found || rt.Sticky:
				return fmt.Errorf("route on %s: found %v %+v", o.vtep, found, rt)
			case f.kind[o.vtep] == kindFRR:
				return nil // FRR 8.4 leaves the sticky rows as they are
			}
			return f.wantFDB(o.vtep, roamerMAC, remoteRows(roamerMAC, home.addr))()
		})
	}
}

// known checks that all other VTEPs answer for an address with a MAC: the neighbour is on
// their bridges.
func (f *fabric) known(at site, ip, mac string) func() error {
	return func() error {
		for _, s := range f.sites() {
			if s == at {
				continue
			}
			if err := f.wantNeigh(s.vtep, ip, mac)(); err != nil {
				return err
			}
		}
		return nil
	}
}

// ours are the sites whose VTEP hears addresses on its ports: FRR's learns none from a
// bridge without an address.
func (f *fabric) ours() (out []site) {
	for _, s := range f.sites() {
		if f.kind[s.vtep] == kindVTEPBGP {
			out = append(out, s)
		}
	}
	return out
}

// A host with several addresses moves: all of them go with it.
func severalAddresses(t *testing.T, f *fabric) {
	s := f.ours()
	ips := []string{roamerIP, "192.168.100.51", "192.168.100.52"}
	for _, at := range []site{s[0], s[1], s[0]} {
		f.roam(at, ips...)
		for _, ip := range ips {
			eventually(t, convergence, ip+" behind "+at.vtep, f.known(at, ip, roamerMAC))
		}
		for _, o := range f.sites() {
			if o != at {
				eventually(t, convergence, "row at "+o.vtep, f.wantFDB(o.vtep, roamerMAC, remoteRows(roamerMAC, at.addr)))
				require.NoError(t, f.ping(o.host, ips[2], 5), "from %s", o.host)
			}
		}
	}
	f.roam(s[0]) // silent from here on, and without addresses
}

// An address goes over to another MAC behind another VTEP, and comes back (RFC 9721): all
// VTEPs answer with the new one, and hosts elsewhere send to it at once.
func addressMoves(t *testing.T, f *fabric) {
	const ip = "192.168.100.60"
	s := f.ours()
	from, to := s[0], s[1]
	f.roam(from, ip)
	eventually(t, convergence, "first owner", f.known(from, ip, roamerMAC))
	var third site
	for _, o := range f.sites() {
		if o != from && o != to {
			third = o
		}
	}
	require.NoError(t, f.ping(third.host, ip, 3))
	for range 2 {
		f.do(from.roamer, "ip", "addr", "del", ip+"/24", "dev", "eth1")
		f.do(to.host, "ip", "addr", "add", ip+"/32", "dev", "eth1")
		f.announce(to.host, f.macOf(to.host), ip)
		eventually(t, convergence, "second owner", f.known(to, ip, f.macOf(to.host)))
		eventually(t, convergence, "second owner answers", func() error { return f.ping(third.host, ip, 1) })
		f.do(to.host, "ip", "addr", "del", ip+"/32", "dev", "eth1")
		f.roam(from, ip)
		eventually(t, convergence, "first owner again", f.known(from, ip, roamerMAC))
		eventually(t, convergence, "first owner answers", func() error { return f.ping(third.host, ip, 1) })
	}
}
