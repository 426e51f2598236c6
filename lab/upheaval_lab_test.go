//go:build lab

package lab_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab/loss"
)

var oursAlone = map[string]string{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindVTEPBGP}

// reachable pings between the hosts until both ways answer, and then wants no loss.
func (f *fabric) reachable() {
	f.t.Helper()
	hosts := map[string]string{"h1": "192.168.100.1", "h2": "192.168.100.2"}
	eventually(f.t, convergence, "hosts reach each other", func() error { return f.pingAll(hosts, 1) })
	require.NoError(f.t, f.pingAll(hosts, 10))
}

// The VXLAN device, and the bridge, are deleted under us. What we made we make again; what
// the operator made we wait for.
func TestDeviceDeleted(t *testing.T) {
	t.Parallel()
	t.Run("managed", func(t *testing.T) {
		t.Parallel()
		f := stage{kind: oursAlone}.build(t)
		f.reachable()
		for _, dev := range []string{"vxlan100", "br100", "vxlan100"} {
			f.do("va", "ip", "link", "del", dev)
			eventually(t, convergence, dev+" is there again", func() error {
				return f.wantFDB("va", zeroMAC, floodRows("10.0.0.2"))()
			})
			f.reachable()
			eventually(t, convergence, "h1 again on vb", f.wantFDB("vb", f.macOf("h1"), remoteRows(f.macOf("h1"), "10.0.0.1")))
		}
	})
	t.Run("adopted", func(t *testing.T) {
		t.Parallel()
		f := stage{kind: oursAlone, config: map[string]string{"va": "manage = false\n"}}.build(t)
		build := func() {
			f.sh("va", `set -e
ip link show br100 >/dev/null 2>&1 || ip link add br100 type bridge
ip link set br100 addrgenmode none up
ip link show vxlan100 >/dev/null 2>&1 || ip link add vxlan100 type vxlan id 100 local 10.0.0.1 dstport 4789 nolearning
ip link set vxlan100 addrgenmode none mtu 1550 master br100
bridge link set dev vxlan100 learning off neigh_suppress on
ip link set vxlan100 up
ip link set eth2 master br100`)
		}
		state := func(want string) func() error {
			return func() error {
				var vnis []struct {
					State    string   `json:"state"`
					Problems []string `json:"problems"`
				}
				if err := f.json(&vnis, "va", "vtepbgp", "vni", "show", "-o", "json"); err != nil {
					return err
				}
				if len(vnis) != 1 || vnis[0].State != want || (want == "down") != (len(vnis[0].Problems) > 0) {
					return fmt.Errorf("%+v", vnis)
				}
				return nil
			}
		}
		eventually(t, convergence, "down without devices", state("down"))
		build()
		f.reachable()
		for _, dev := range []string{"vxlan100", "br100"} {
			f.do("va", "ip", "link", "del", dev)
			eventually(t, convergence, "down without "+dev, state("down"))
			eventually(t, convergence, "withdrawn on vb", f.wantFDB("vb", zeroMAC, nil))
			build()
			eventually(t, convergence, "up with "+dev, state("up"))
			f.reachable()
		}
	})
}

// The VTEP address comes from an interface and changes: our routes name the new one, and
// no row anywhere keeps the old.
func TestVTEPAddressChanges(t *testing.T) {
	t.Parallel()
	f := stage{kind: oursAlone}.build(t)
	f.reachable()
	h1 := f.macOf("h1")
	f.do("va", "ip", "addr", "add", "10.0.0.101/32", "dev", "lo")
	f.reconfigure("va", `address = "10.0.0.1"`, `interface = "lo"`)
	eventually(t, convergence, "address of lo", f.wantFDB("vb", h1, remoteRows(h1, "10.0.0.101")))
	f.reachable()
	for _, step := range []struct{ old, new string }{{"10.0.0.101", "10.0.0.102"}, {"10.0.0.102", "10.0.0.103"}} {
		f.sh("va", "ip addr del "+step.old+"/32 dev lo; ip addr add "+step.new+"/32 dev lo")
		eventually(t, convergence, "flood row on vb", f.wantFDB("vb", zeroMAC, floodRows(step.new)))
		eventually(t, convergence, "h1 on vb", f.wantFDB("vb", h1, remoteRows(h1, step.new)))
		f.reachable()
	}
	all, err := f.fdbAll("vb", "vxlan100")
	require.NoError(t, err)
	for mac, rows := range all {
		for _, r := range rows {
			require.NotContains(t, r, "10.0.0.101", mac)
			require.NotContains(t, r, "10.0.0.102", mac)
		}
	}
}

// VNIs come, change and go by reload, and traffic of another VNI does not notice; nor does
// that of a VNI whose own change does not concern forwarding.
func TestReloadUnderTraffic(t *testing.T) {
	t.Parallel()
	f := stage{kind: oursAlone, roamers: true}.build(t)
	f.reachable()
	meter, err := loss.Between(f.host("h1", "192.168.100.1"), f.host("h2", "192.168.100.2"))
	require.NoError(t, err)
	meter.Begin()
	for _, v := range []string{"va", "vb"} {
		f.sh(v, "ip link set eth3 nomaster; mkdir -p /etc/vtepbgp/vni.d")
	}
	f.do("r1", "ip", "addr", "add", "192.168.200.1/24", "dev", "eth1")
	f.do("r2", "ip", "addr", "add", "192.168.200.2/24", "dev", "eth1")
	vni200 := func(text string) {
		for _, v := range []string{"va", "vb"} {
			if text == "" {
				f.sh(v, "rm /etc/vtepbgp/vni.d/200.toml")
			} else {
				f.sh(v, "cat > /etc/vtepbgp/vni.d/200.toml <<'END'\nid = 200\nports = [\"eth3\"]\n"+text+"\nEND")
			}
			f.do(v, "vtepbgp", "reload")
		}
	}
	for _, v := range []string{"va", "vb"} {
		f.reconfigure(v, `ports = ["eth2", "eth3"]`, `ports = ["eth2"]`)
	}
	roundTrip := func() error {
		return f.pingAll(map[string]string{"r1": "192.168.200.1", "r2": "192.168.200.2"}, 1)
	}
	vni200("max_macs = 0")
	eventually(t, convergence, "new VNI", roundTrip)
	for _, change := range []string{
		`export_rt = ["65000:777"]` + "\n" + `import_rt = ["65000:777"]`, `rd = "10.9.9.9:7"`, `arp_suppression = false`, `mtu = 1400`,
	} {
		vni200(change)
		eventually(t, convergence, change, roundTrip)
	}
	vni200("")
	for _, v := range []string{"va", "vb"} {
		eventually(t, convergence, "our device goes with its VNI", func() error {
			if _, err := f.try(v, "ip", "link", "show", "vxlan200"); err == nil {
				return fmt.Errorf("vxlan200 is still on %s", v)
			}
			return nil
		})
	}
	// The VNI under traffic: new targets, said on both sides at different times, make it a
	// new network for a moment; what does not concern forwarding must not.
	for _, v := range []string{"va", "vb"} {
		f.reconfigure(v, "id = 100\n", "id = 100\nmax_macs = 1000\n")
		f.reconfigure(v, "id = 100\n", "id = 100\nexport_rt = [\"auto\", \"65000:1100\"]\nimport_rt = [\"auto\", \"65000:1100\"]\n")
	}
	holds(t, time.Second, "rows of VNI 100", f.wantFDB("vb", f.macOf("h1"), remoteRows(f.macOf("h1"), "10.0.0.1")))
	report := meter.End()
	t.Logf("\n%s", report)
	require.Zero(t, report.Lost())
}
