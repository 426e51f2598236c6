//go:build lab

package lab_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The BFD lab: va has every kind of neighbour, each by IPv4 and by IPv6, at 100 ms × 3.
//
//	near (FRR) ── 10.0.0.0/24 ── va ── 10.3.0.0/24 ── vb (vtepbgp)
//	                             │
//	                        10.1.0.0/24 ── router ── 10.2.0.0/24 ── far (FRR)
//
// near and vb share a subnet with va: one hop. far does not: several.
const bfdLab = `name: bfd
topology:
  defaults: {kind: linux, image: host}
  nodes:
    va:
      image: vtepbgp
      binds: [va.toml:/etc/vtepbgp/vtepbgp.toml:ro]
      exec:
        - ip addr add 10.0.0.1/24 dev eth1
        - ip addr add fd00::1/64 dev eth1 nodad
        - ip addr add 10.1.0.1/24 dev eth2
        - ip addr add fd01::1/64 dev eth2 nodad
        - ip addr add 10.3.0.1/24 dev eth3
        - ip addr add fd03::1/64 dev eth3 nodad
        - ip route add 10.2.0.0/24 via 10.1.0.254
        - ip route add fd02::/64 via fd01::254
    near:
      image: frr
      binds: [daemons:/etc/frr/daemons:ro, near.conf:/etc/frr/frr.conf:ro]
      exec:
        - sh -c "until vtysh -c 'show running-config' 2>/dev/null | grep -q 'fd00::1 activate'; do sleep 0.1; done"
        - ip addr add 10.0.0.254/24 dev eth1
        - ip addr add fd00::254/64 dev eth1 nodad
    router:
      exec:
        - sysctl -w net.ipv4.ip_forward=1
        - sysctl -w net.ipv6.conf.all.forwarding=1
        - ip addr add 10.1.0.254/24 dev eth1
        - ip addr add fd01::254/64 dev eth1 nodad
        - ip addr add 10.2.0.1/24 dev eth2
        - ip addr add fd02::1/64 dev eth2 nodad
    far:
      image: frr
      binds: [daemons:/etc/frr/daemons:ro, far.conf:/etc/frr/frr.conf:ro]
      exec:
        - sh -c "until vtysh -c 'show running-config' 2>/dev/null | grep -q 'fd01::1 activate'; do sleep 0.1; done"
        - ip addr add 10.2.0.254/24 dev eth1
        - ip addr add fd02::254/64 dev eth1 nodad
        - ip route add 10.1.0.0/24 via 10.2.0.1
        - ip route add fd01::/64 via fd02::1
    vb:
      image: vtepbgp
      binds: [vb.toml:/etc/vtepbgp/vtepbgp.toml:ro]
      exec:
        - ip addr add 10.3.0.2/24 dev eth1
        - ip addr add fd03::2/64 dev eth1 nodad
  links:
    - {endpoints: ["va:eth1", "near:eth1"], mtu: 1600}
    - {endpoints: ["va:eth2", "router:eth1"], mtu: 1600}
    - {endpoints: ["router:eth2", "far:eth1"], mtu: 1600}
    - {endpoints: ["va:eth3", "vb:eth1"], mtu: 1600}
`

// bfdNeighbors are va's, and the mode that both sides must find by themselves.
var bfdNeighbors = map[string]string{
	"10.0.0.254": "single-hop", "fd00::254": "single-hop", "10.2.0.254": "multihop", "fd02::254": "multihop",
	"10.3.0.2": "single-hop", "fd03::2": "single-hop",
}

func bfdTOML(vtep string, neighbors ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[bgp]\nasn = 65000\nrouter_id = %q\ngraceful_restart_time = \"20s\"\n[vtep]\naddress = %q\n[[vni]]\nid = 100\n", vtep, vtep)
	for _, n := range neighbors {
		fmt.Fprintf(&b, "[[neighbor]]\naddress = %q\nasn = 65000\nconnect_retry = \"1s\"\nbfd = true\nbfd_interval = \"100ms\"\n", n)
	}
	return b.String()
}

func bfdFRR(name, id string, neighbors ...string) string {
	var b, family strings.Builder
	fmt.Fprintf(&b, "hostname %s\nrouter bgp 65000\n bgp router-id %s\n no bgp default ipv4-unicast\n", name, id)
	for _, n := range neighbors {
		fmt.Fprintf(&b, " neighbor %s remote-as 65000\n neighbor %s timers connect 1\n neighbor %s bfd 3 100 100\n", n, n, n)
		fmt.Fprintf(&family, "  neighbor %s activate\n", n)
	}
	return b.String() + " address-family l2vpn evpn\n" + family.String() + " exit-address-family\n"
}

type bfdShown struct {
	Address   string `json:"address"`
	State     string `json:"state"`
	Flaps     int    `json:"flaps"`
	LastError string `json:"last_error"`
	BFD       struct {
		State       string    `json:"state"`
		Mode        string    `json:"mode"`
		Detection   float64   `json:"detection_ms"`
		Flaps       int       `json:"flaps"`
		LastDown    time.Time `json:"last_down"`
		Reason      string    `json:"last_down_reason"`
		RemoteState string    `json:"remote_state"`
		Problem     string    `json:"problem"`
	} `json:"bfd"`
}

func (r *running) bfd(node string) (map[string]bfdShown, error) {
	var list []bfdShown
	if err := r.json(&list, node, "vtepbgp", "neighbor", "show", "--json"); err != nil {
		return nil, err
	}
	out := map[string]bfdShown{}
	for _, n := range list {
		out[n.Address] = n
	}
	return out, nil
}

// bfdUp says what is not as it should be with va's sessions, seen from both sides.
func (r *running) bfdUp(neighbors map[string]string) func() error {
	return func() error {
		shown, err := r.bfd("va")
		if err != nil {
			return err
		}
		var errs []error
		for addr, mode := range neighbors {
			n := shown[addr]
			if n.State != "established" || n.BFD.State != "up" || n.BFD.Mode != mode || n.BFD.Detection != 300 {
				errs = append(errs, fmt.Errorf("%s: %+v", addr, n))
			}
		}
		for _, frr := range []string{"near", "far"} {
			var peers []struct {
				Peer     string `json:"peer"`
				Status   string `json:"status"`
				Multihop bool   `json:"multihop"`
			}
			if err := r.json(&peers, frr, "vtysh", "-c", "show bfd peers json"); err != nil {
				errs = append(errs, err)
			}
			if len(peers) != 2 {
				errs = append(errs, fmt.Errorf("%s has %d peers", frr, len(peers)))
			}
			for _, p := range peers {
				if p.Status != "up" || p.Multihop != (frr == "far") {
					errs = append(errs, fmt.Errorf("%s: %+v", frr, p))
				}
			}
		}
		return errors.Join(errs...)
	}
}

func newBFDLab(t *testing.T) *running {
	t.Helper()
	needRoot(t)
	var all []string
	for n := range bfdNeighbors {
		all = append(all, n)
	}
	slices.Sort(all)
	r := up(t, parseAs(t, folder(t, map[string]string{
		"daemons":   frrDaemons + "bfdd=yes\nbfdd_options=\"   -A 127.0.0.1\"\n",
		"va.toml":   bfdTOML("10.0.0.1", all...),
		"vb.toml":   bfdTOML("10.3.0.2", "10.3.0.1", "fd03::1"),
		"near.conf": bfdFRR("near", "10.0.0.254", "10.0.0.1", "fd00::1"),
		"far.conf":  bfdFRR("far", "10.2.0.254", "10.1.0.1", "fd01::1"),
	}), bfdLab), binary(t))
	eventually(t, convergence, "all sessions up on both sides", r.bfdUp(bfdNeighbors))
	return r
}

// clock in a script of [running.stamp] prints the time: put it right before what is measured, since to find
// a process alone takes long on a busy machine.
const clock = "date +%s%N; "

// stamp runs a script in a node and gives the time that its clock printed.
func (r *running) stamp(node, script string) time.Time {
	r.t.Helper()
	out := strings.TrimSpace(r.sh(node, script))
	ns, err := strconv.ParseInt(strings.Fields(out)[0], 10, 64)
	require.NoError(r.t, err)
	return time.Unix(0, ns)
}

// distribution is what many rounds took.
func distribution(spans []time.Duration) string {
	slices.Sort(spans)
	return fmt.Sprintf("n=%d p50 %s max %s", len(spans), spans[len(spans)/2].Round(time.Millisecond), spans[len(spans)-1].Round(time.Millisecond))
}

// detected waits until BFD of va has gone down after at, and gives how long that took.
func (r *running) detected(neighbor string, at time.Time) time.Duration {
	r.t.Helper()
	var n bfdShown
	eventually(r.t, 10*time.Second, "bfd of "+neighbor+" down", func() error {
		all, err := r.bfd("va")
		if n = all[neighbor]; err == nil && !n.BFD.LastDown.After(at) {
			err = fmt.Errorf("%+v", n)
		}
		return err
	})
	return n.BFD.LastDown.Sub(at)
}

// detectionBound is three intervals and what a busy test machine may add.
const detectionBound = 300*time.Millisecond + 700*time.Millisecond

// Each way to lose a neighbour is noticed within three intervals: its host is cut off, its
// BGP daemon hangs or is killed, one hop away or two, IPv4 or IPv6. The routes go with it, though the hold time is 90 s.
func TestBFD(t *testing.T) {
	t.Parallel()
	r := newBFDLab(t)
	rounds := 3
	if n, err := strconv.Atoi(os.Getenv("VTEPBGP_BFD_ROUNDS")); err == nil {
		rounds = n
	}
	sub := func(name string, f func(r *running)) {
		if !t.Run(name, func(t *testing.T) {
			in := *r
			in.t = t
			f(&in)
		}) {
			t.FailNow()
		}
	}
	lose := func(node, how, undo string, neighbors ...string) func(*running) {
		return func(r *running) {
			took := map[string][]time.Duration{}
			for range rounds {
				at := r.stamp(node, how)
				for _, n := range neighbors {
					took[n] = append(took[n], r.detected(n, at))
				}
				eventually(r.t, 5*time.Second, "BGP ends, too", func() error {
					all, err := r.bfd("va")
					for _, n := range neighbors {
						if all[n].State == "established" || !strings.Contains(all[n].LastError, "BFD") && !strings.Contains(all[n].LastError, "dial") {
							err = errors.Join(err, fmt.Errorf("%+v", all[n]))
						}
					}
					return err
				})
				if node == "vb" {
					eventually(r.t, 5*time.Second, "the rows go", r.wantFDB("va", zeroMAC, nil))
				}
				r.sh(node, undo)
				eventually(r.t, convergence, "all is well again", r.bfdUp(bfdNeighbors))
				if node == "vb" {
					eventually(r.t, convergence, "the rows are back", r.wantFDB("va", zeroMAC, floodRows("10.3.0.2")))
				}
			}
			for _, n := range neighbors {
				r.t.Logf("%s (%s) noticed: %s", n, bfdNeighbors[n], distribution(took[n]))
				require.Less(r.t, took[n][len(took[n])-1], detectionBound)
			}
		}
	}
	sub("FRR's link is down", lose("near", clock+"ip link set eth1 down", "ip link set eth1 up; ip addr replace fd00::254/64 dev eth1 nodad", "10.0.0.254", "fd00::254"))
	sub("the way to FRR is cut", lose("router", clock+"ip link set eth2 down",
		"ip link set eth2 up; ip addr replace fd02::1/64 dev eth2 nodad", "10.2.0.254", "fd02::254"))
	sub("vtepbgp hangs", lose("vb", "p=$(pidof vtepbgp); "+clock+"kill -STOP $p", "kill -CONT $(pidof vtepbgp)", "10.3.0.2", "fd03::2"))
	sub("FRR's bfdd and bgpd hang", lose("near", "p=$(pidof bfdd bgpd); "+clock+"kill -STOP $p", "kill -CONT $(pidof bfdd) $(pidof bgpd)", "10.0.0.254", "fd00::254"))
	sub("crash and restart", bfdCrash)
	sub("upgrade", bfdUpgrade)
}

// The kernel of a killed daemon closes its BGP connections: that is a restart, not a dead host, and its
// rows stay for the restart time though BFD goes down.
func bfdCrash(r *running) {
	eventually(r.t, convergence, "the row of vb", r.wantFDB("va", zeroMAC, floodRows("10.3.0.2")))
	before := time.Now()
	require.NoError(r.t, r.Signal("vb", unix.SIGKILL))
	r.t.Logf("10.3.0.2 noticed: %s", r.detected("10.3.0.2", before))
	holds(r.t, time.Second, "the row stays", r.wantFDB("va", zeroMAC, floodRows("10.3.0.2")))
	require.NoError(r.t, r.Start(r.t.Context(), "vb"))
	eventually(r.t, convergence, "all is well again", func() error {
		if err := r.wantFDB("va", zeroMAC, floodRows("10.3.0.2"))(); err != nil {
			require.NoError(r.t, err, "the row went in between")
		}
		return r.bfdUp(bfdNeighbors)()
	})
}

// An upgrade closes BGP without a NOTIFICATION, then takes BFD down on purpose: that costs no row. FRR 8.4 drops
// va's routes all the same, with or without check-control-plane-failure, and has them again after.
func bfdUpgrade(r *running) {
	routes := func(frr string) error {
		out, err := r.try(frr, "vtysh", "-c", "show bgp l2vpn evpn route type multicast")
		if err == nil && !strings.Contains(out, "[10.0.0.1]") {
			err = fmt.Errorf("%s has no route of va: %s", frr, out)
		}
		return err
	}
	eventually(r.t, convergence, "va's route in FRR", func() error { return errors.Join(routes("near"), routes("far")) })
	eventually(r.t, convergence, "va's row at vb", r.wantFDB("vb", zeroMAC, floodRows("10.0.0.1")))
	require.NoError(r.t, r.Signal("va", unix.SIGTERM))
	holds(r.t, 2*time.Second, "nobody forgets va", func() error {
		return r.wantFDB("vb", zeroMAC, floodRows("10.0.0.1"))()
	})
	require.NoError(r.t, r.Start(r.t.Context(), "va"))
	eventually(r.t, convergence, "all is well again", r.bfdUp(bfdNeighbors))
	eventually(r.t, convergence, "va's route in FRR", func() error { return errors.Join(routes("near"), routes("far")) })
}

// With every core burnt by others nobody may be taken for dead, on either side. VTEPBGP_BFD_SOAK sets
// for how long; 10m is what the figures in the documentation come from.
func TestBFDUnderLoad(t *testing.T) {
	r := newBFDLab(t)
	span := 20 * time.Second
	if d, err := time.ParseDuration(os.Getenv("VTEPBGP_BFD_SOAK")); err == nil {
		span = d
	}
	// FRR's daemon stays silent for 300 ms and more when it has to share a core: what is judged here is ours.
	for _, node := range []string{"near", "far"} {
		r.sh(node, "chrt -r -p 1 $(pidof bfdd)")
	}
	before, err := r.bfdFlaps()
	require.NoError(t, err)
	for range runtime.NumCPU() {
		burn := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
		require.NoError(t, burn.Start())
		defer func() {
			_ = burn.Process.Kill()
			_ = burn.Wait()
		}()
	}
	end := time.NewTimer(span)
	defer end.Stop()
	look := time.NewTicker(10 * time.Second)
	defer look.Stop()
	for over := false; !over; {
		select {
		case <-end.C:
			over = true
		case <-look.C:
		}
		now, err := r.bfdFlaps()
		require.NoError(t, err)
		require.Equal(t, before, now, "sessions that went down, by node")
	}
	t.Logf("%s with %d cores burnt, sessions that went down: %s", span, runtime.NumCPU(), before)
}

// bfdFlaps counts the ends of BFD sessions on all nodes.
func (r *running) bfdFlaps() (string, error) {
	var b strings.Builder
	for _, node := range []string{"va", "vb"} {
		all, err := r.bfd(node)
		if err != nil {
			return "", err
		}
		n := 0
		for _, s := range all {
			n += s.BFD.Flaps
		}
		fmt.Fprintf(&b, "%s %d ", node, n)
	}
	for _, node := range []string{"near", "far"} {
		var peers []map[string]any
		if err := r.json(&peers, node, "vtysh", "-c", "show bfd peers counters json"); err != nil {
			return "", err
		}
		n := 0.0
		for _, p := range peers {
			down, ok := p["session-down"].(float64)
			if !ok {
				return "", fmt.Errorf("no session-down count: %v", p)
			}
			n += down
		}
		fmt.Fprintf(&b, "%s %.0f ", node, n)
	}
	return strings.TrimSpace(b.String()), nil
}
