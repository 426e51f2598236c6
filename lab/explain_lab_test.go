//go:build lab

package lab_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// explanation is what a tool reads of `vtepbgp explain --json`.
type explanation struct {
	VNI     int      `json:"vni"`
	MAC     string   `json:"mac"`
	Origin  string   `json:"origin"`
	VTEP    string   `json:"vtep"`
	Port    string   `json:"port"`
	Status  string   `json:"status"`
	Verdict string   `json:"verdict"`
	Advice  []string `json:"advice"`
	Steps   []struct {
		Step   string `json:"step"`
		Status string `json:"status"`
		Text   string `json:"text"`
	} `json:"steps"`
	Routes []struct {
		Neighbor string `json:"neighbor"`
		NextHop  string `json:"next_hop"`
		Verdict  string `json:"verdict"`
	} `json:"routes"`
	Rows []drift `json:"rows"`
}

func (x explanation) step(name string) string {
	for _, s := range x.Steps {
		if s.Step == name {
			return s.Status + ": " + s.Text
		}
	}
	return ""
}

type drift struct {
	Table    string `json:"table"`
	MAC      string `json:"mac"`
	IP       string `json:"ip"`
	State    string `json:"state"`
	Found    string `json:"found"`
	Drift    bool   `json:"drift"`
	Repaired bool   `json:"repaired"`
}

// ask runs a command of vtepbgp that tells by its exit code whether all is well, and
// reads its JSON.
func (r *running) ask(into any, node string, args ...string) (code int) {
	r.t.Helper()
	out := r.sh(node, "vtepbgp "+strings.Join(args, " ")+" --json; code=$?; echo; echo $code")
	out = strings.TrimSpace(out)
	i := strings.LastIndexByte(out, '\n')
	_, err := fmt.Sscan(out[i+1:], &code)
	require.NoError(r.t, err, out)
	require.NoError(r.t, json.Unmarshal([]byte(out[:i]), into), out)
	return code
}

// wantExplained waits until a node explains what it is asked for with this verdict.
func (f *fabric) wantExplained(node, what, verdict string) (x explanation) {
	f.t.Helper()
	eventually(f.t, 20*time.Second, "explain "+what, func() error {
		var list []explanation
		code := f.ask(&list, node, "explain", what)
		if len(list) != 1 || !strings.Contains(list[0].Verdict, verdict) {
			return fmt.Errorf("explain %s on %s: got %+v, want %q", what, node, list, verdict)
		}
		x = list[0]
		if (code == 0) != (x.Status != "problem") {
			return fmt.Errorf("explain %s on %s: exit code %d for %s", what, node, code, x.Status)
		}
		return nil
	})
	f.t.Logf("%s$ vtepbgp explain %s\n%s", node, what, f.sh(node, "vtepbgp explain "+what+"; true"))
	return x
}

// TestExplain: FRR's host behind vb and our own behind va, explained at va while things
// go wrong one after the other.
func TestExplain(t *testing.T) {
	f := stage{kind: map[string]string{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindFRR}}.build(t)
	eventually(t, 30*time.Second, "traffic", func() error { return f.ping("h1", "192.168.100.2", 3) })
	h1, h2 := f.macOf("h1"), f.macOf("h2")

	x := f.wantExplained("va", h2, h2+" is behind VTEP 10.0.0.2, and packets to it can go there")
	assert.Equal(t, "ok", x.Status)
	assert.Equal(t, "remote", x.Origin)
	assert.Equal(t, "10.0.0.2", x.VTEP)
	require.NotEmpty(t, x.Routes)
	assert.Equal(t, "in use", x.Routes[0].Verdict)
	assert.Equal(t, "10.0.0.254", x.Routes[0].Neighbor)
	assert.Equal(t, "ok: VTEP 10.0.0.2 is reachable by eth1", x.step("underlay"))
	assert.Equal(t, "ok: packets of 1550 octets fit: they need 1600, the way to 10.0.0.2 has 1600", x.step("mtu"))
	assert.Equal(t, "ok: the kernel holds what it should", x.step("kernel"))
	require.GreaterOrEqual(t, len(x.Rows), 2)
	assert.Equal(t, "dst 10.0.0.2 extern_learn", x.Rows[0].Found)
	assert.Equal(t, "dev vxlan100 extern_learn", x.Rows[1].Found)

	x = f.wantExplained("va", h1, h1+" is on port eth2 of this host and announced")
	assert.Equal(t, "eth2", x.Port)
	assert.Contains(t, x.step("announced"), "announced to 1 of 1 neighbour")
	assert.Contains(t, x.step("seen"), "seen on port eth2 of bridge br100")

	x = f.wantExplained("va", "192.168.100.1", "192.168.100.1 is on port eth2 of this host and announced")
	assert.Equal(t, h1, x.MAC)

	x = f.wantExplained("va", "02:00:00:00:99:99", "nobody has announced 02:00:00:00:99:99, and no port here has seen it")
	assert.Contains(t, x.Advice[0], "does the host speak?")
	f.wantExplained("va", "192.168.100.99", "nobody has announced 192.168.100.99, and no port here has seen it")

	f.do("va", "ip", "route", "add", "unreachable", "10.0.0.2/32")
	x = f.wantExplained("va", h2, "VTEP 10.0.0.2 is unreachable")
	assert.Equal(t, []string{"mend the underlay: `ip route get 10.0.0.2`"}, x.Advice)
	f.do("va", "ip", "route", "replace", "10.0.0.2/32", "dev", "eth1", "mtu", "1400")
	x = f.wantExplained("va", h2, "packets of more than 1350 octets are lost: device vxlan100 takes 1550, which need 1600, and the way to 10.0.0.2 has 1400")
	assert.Equal(t, []string{"set mtu = 1350 for VNI 100 and its hosts, or give the underlay an MTU of 1600"}, x.Advice)
	f.do("va", "ip", "route", "del", "10.0.0.2/32")
	f.wantExplained("va", h2, "packets to it can go there")

	f.do("va", "bridge", "fdb", "replace", h1, "dev", "eth2", "master", "static", "sticky")
	eventually(t, 10*time.Second, "sticky", func() error {
		if x := f.wantExplained("va", h1, "announced"); !strings.Contains(x.step("seen"), "pinned there (sticky)") {
			return fmt.Errorf("%s", x.step("seen"))
		}
		return nil
	})

	f.reconfigure("va", "id = 100\n", "id = 100\nimport_rt = [\"65000:999\"]\n")
	x = f.wantExplained("va", h2, "no route for it can be used: no VNI imports its route targets 65000:100")
	assert.Equal(t, []string{"add 65000:100 to import_rt of VNI 100, or change what 10.0.0.2 exports"}, x.Advice)
	assert.Empty(t, x.Rows)

	f.reconfigure("va", "import_rt = [\"65000:999\"]\n", "manage = false\n")
	f.wantExplained("va", h2, "packets to it can go there")
	f.do("va", "ip", "link", "set", "vxlan100", "down")
	x = f.wantExplained("va", h2, "VNI 100 is down: device vxlan100 is down")
	assert.Equal(t, []string{"bring VNI 100 up: set the link up"}, x.Advice)
}

// TestDrift: what breaks while the daemon looks away is no drift once it looks again,
// or is repaired on demand; what is somebody else's is shown and stays.
func TestDrift(t *testing.T) {
	f := stage{kind: map[string]string{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindFRR}}.build(t)
	eventually(t, 30*time.Second, "traffic", func() error { return f.ping("h1", "192.168.100.2", 3) })
	h2 := f.macOf("h2")
	eventually(t, 10*time.Second, "row", f.wantFDB("va", h2, remoteRows(h2, "10.0.0.2")))
	equal := func() error {
		var list []drift
		if code := f.ask(&list, "va", "drift"); code != 0 || len(list) > 0 {
			return fmt.Errorf("drift: exit code %d, %+v", code, list)
		}
		return nil
	}
	eventually(t, 10*time.Second, "equal", equal)
	assert.Equal(t, "The kernel is as intended.\n", f.do("va", "vtepbgp", "drift"))

	breaks := []string{
		"bridge fdb del " + zeroMAC + " dev vxlan100 dst 10.0.0.2 self",
		"bridge fdb del " + h2 + " dev vxlan100 master",
		"bridge fdb replace " + h2 + " dev vxlan100 dst 10.0.0.7 self extern_learn dynamic",
		"bridge link set dev vxlan100 neigh_suppress off learning on",
		"ip link set vxlan100 mtu 1300",
		"ip neigh flush dev br100 nud noarp",
	}
	for _, script := range breaks {
		f.do("va", "sh", "-c", "kill -STOP $(pidof vtepbgp); "+script+"; kill -CONT $(pidof vtepbgp)")
		equal := equal()
		assert.NoError(t, equal, "%s: repaired by its event, and no false alarm before", script)
		var list []drift
		assert.Zero(t, f.ask(&list, "va", "drift", "--repair"), script)
		eventually(t, 10*time.Second, script, f.wantFDB("va", h2, remoteRows(h2, "10.0.0.2")))
		eventually(t, 10*time.Second, script, f.wantFDB("va", zeroMAC, floodRows("10.0.0.2")))
	}
	assert.NoError(t, f.ping("h1", "192.168.100.2", 3))

	f.do("va", "bridge", "fdb", "add", "02:00:00:00:77:77", "dev", "vxlan100", "dst", "10.0.0.9", "self", "permanent")
	var list []drift
	assert.Zero(t, f.ask(&list, "va", "drift"))
	require.Len(t, list, 1)
	assert.Equal(t, drift{Table: "vxlan", MAC: "02:00:00:00:77:77", State: "foreign", Found: "dst 10.0.0.9 permanent"}, list[0])
	f.do("va", "vtepbgp", "drift", "--repair")
	rows, err := f.fdb("va", "vxlan100", "02:00:00:00:77:77")
	require.NoError(t, err)
	assert.True(t, slices.ContainsFunc(rows, func(s string) bool { return strings.Contains(s, "dst 10.0.0.9") }), "%v", rows)
}
