//go:build lab

package lab_test

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// fdbRow is a line of `bridge fdb`, as bridge -j prints it.
type fdbRow struct {
	MAC    string   `json:"mac"`
	Dev    string   `json:"ifname"`
	Dst    string   `json:"dst"`
	Flags  []string `json:"flags"`
	Master string   `json:"master"`
	State  string   `json:"state"`
	VNI    int      `json:"vni"`
	SrcVNI int      `json:"src_vni"`
}

// String is the row in the words of bridge(8), without age and counters.
func (r fdbRow) String() string {
	s := r.MAC + " dev " + r.Dev
	if r.Dst != "" {
		s += " dst " + r.Dst
	}
	flags := slices.Clone(r.Flags)
	sort.Strings(flags)
	for _, f := range flags {
		s += " " + f
	}
	if r.Master != "" {
		s += " master " + r.Master
	}
	if r.State != "" {
		s += " " + r.State
	}
	return s
}

const zeroMAC = "00:00:00:00:00:00"

// fdbAll lists the rows of a device of a node by MAC.
func (r *running) fdbAll(node, dev string) (map[string][]string, error) {
	var rows []fdbRow
	if err := r.json(&rows, node, "bridge", "-j", "fdb", "show", "dev", dev); err != nil {
		return nil, err
	}
	out := map[string][]string{}
	for _, row := range rows {
		row.Dev = dev // some versions leave it out with "dev"
		out[row.MAC] = append(out[row.MAC], row.String())
	}
	for _, l := range out {
		sort.Strings(l)
	}
	return out, nil
}

// fdb lists the rows of one MAC on a device of a node.
func (r *running) fdb(node, dev, mac string) ([]string, error) {
	all, err := r.fdbAll(node, dev)
	return all[mac], err
}

// What FRR 8.4 writes for a remote MAC, a sticky remote MAC and a flood entry.
func remoteRows(mac, vtep string) []string {
	return []string{mac + " dev vxlan100 dst " + vtep + " extern_learn self", mac + " dev vxlan100 extern_learn master br100"}
}

func stickyRows(mac, vtep string) []string {
	return []string{mac + " dev vxlan100 dst " + vtep + " self sticky static", mac + " dev vxlan100 sticky master br100 static"}
}

func floodRows(vteps ...string) []string {
	out := []string{}
	for _, v := range vteps {
		out = append(out, zeroMAC+" dev vxlan100 dst "+v+" self permanent")
	}
	return out
}

// wantFDB compares the rows of a MAC on vxlan100.
func (r *running) wantFDB(node, mac string, want []string) func() error {
	return func() error {
		got, err := r.fdb(node, "vxlan100", mac)
		if err != nil {
			return err
		}
		want := slices.Sorted(slices.Values(want))
		if !slices.Equal(got, want) {
			return fmt.Errorf("rows of %s on %s:\n  got  %s\n  want %s", mac, node, strings.Join(got, "\n       "), strings.Join(want, "\n       "))
		}
		return nil
	}
}

// neigh gives the line of an address on br100 in the words of ip-neighbour(8) without
// the protocol (FRR writes zebra's number, we our own), and the protocol.
func (r *running) neigh(node, ip string) (row, proto string, err error) {
	var rows []map[string]any
	if err := r.json(&rows, node, "ip", "-j", "-details", "neigh", "show", "dev", "br100"); err != nil {
		return "", "", err
	}
	for _, m := range rows {
		if m["dst"] != ip {
			continue
		}
		row = fmt.Sprint(ip, " lladdr ", m["lladdr"])
		if _, ok := m["extern_learn"]; ok {
			row += " extern_learn"
		}
		if states, ok := m["state"].([]any); ok {
			for _, s := range states {
				row += fmt.Sprint(" ", s)
			}
		}
		if p, ok := m["protocol"]; ok {
			proto = fmt.Sprint(p)
		}
		return row, proto, nil
	}
	return "", "", nil
}

func (r *running) wantNeigh(node, ip, mac string) func() error {
	return func() error {
		got, _, err := r.neigh(node, ip)
		if err != nil {
			return err
		}
		want := ""
		if mac != "" {
			want = ip + " lladdr " + mac + " extern_learn NOARP"
		}
		if got != want {
			return fmt.Errorf("neighbour %s on %s: got %q, want %q", ip, node, got, want)
		}
		return nil
	}
}

// route is what both a vtepbgp and an FRR node can tell of a type-2 route.
type route struct {
	Sequence uint32
	Sticky   bool
	NextHop  string
}

// macRoute asks a node for the best type-2 route of a MAC without IP; found is false when it has none.
func (f *fabric) macRoute(node, mac string) (rt route, found bool, err error) {
	if f.kind[node] == kindFRR {
		return f.frrRoute(node, mac)
	}
	var routes []struct {
		Type     int    `json:"type"`
		MAC      string `json:"mac"`
		IP       string `json:"ip"`
		NextHop  string `json:"next_hop"`
		Sequence uint32 `json:"sequence"`
		Sticky   bool   `json:"sticky"`
		Best     bool   `json:"best"`
	}
	if err := f.json(&routes, node, "vtepbgp", "route", "show", "-o", "json"); err != nil {
		return route{}, false, err
	}
	for _, r := range routes {
		if r.Type == 2 && r.MAC == mac && r.IP == "" && r.Best {
			return route{r.Sequence, r.Sticky, r.NextHop}, true, nil
		}
	}
	return route{}, false, nil
}

// frrRoute reads vtysh's text: 8.4's JSON of a route leaves the mobility community to a string too.
func (f *fabric) frrRoute(node, mac string) (rt route, found bool, err error) {
	out, err := f.try(node, "vtysh", "-c", "show bgp l2vpn evpn route detail type 2")
	if err != nil {
		return rt, false, err
	}
	head := "[2]:[0]:[48]:[" + mac + "]"
	for _, block := range strings.Split(out, "BGP routing table entry for ") {
		first, rest, _ := strings.Cut(block, "\n")
		// A block without paths is an inner node of FRR's tree, not a route.
		if !strings.Contains(first, head) || strings.Contains(first, head+":[") || strings.Contains(rest, "Paths: (0 available") {
			continue
		}
		for _, line := range strings.Split(rest, "\n") {
			fields := strings.Fields(line)
			if len(fields) >= 3 && fields[1] == "from" || len(fields) >= 2 && fields[1] == "(metric" {
				rt.NextHop = fields[0]
			}
			if i := strings.Index(line, "MM:"); i >= 0 {
				fmt.Sscanf(line[i:], "MM:%d", &rt.Sequence)
			}
			if strings.Contains(line, "sticky MAC") {
				rt.Sticky = true
			}
		}
		return rt, true, nil
	}
	return rt, false, nil
}

// mustMAC keeps test MACs well formed.
func mustMAC(s string) string {
	var m evpn.MAC
	if err := m.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return s
}
