package api

import (
	"errors"
	"net/netip"
	"net/url"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Status of a step, or of an explanation as a whole.
const (
	StatusOK      = "ok"
	StatusInfo    = "info" // neither good nor bad
	StatusWarning = "warning"
	StatusProblem = "problem"
)

// Explanation says why a MAC or IP address is where it is in one VNI, or why it is
// not there.
type Explanation struct {
	VNI     evpn.VNI        `json:"vni"` // 0 when no VNI knows it
	MAC     string          `json:"mac"` // asked for, or of the host that has the IP
	IP      netip.Addr      `json:"ip"`  // asked for
	Origin  evpn.Origin     `json:"origin"`
	VTEP    netip.Addr      `json:"vtep"`
	Port    string          `json:"port"`
	Status  string          `json:"status"` // "ok" | "warning" | "problem": the worst of the steps
	Verdict string          `json:"verdict"`
	Advice  []string        `json:"advice"` // what to do
	Steps   []Step          `json:"steps"`
	Routes  []RouteVerdict  `json:"routes"` // that name it, best first
	Rows    []Drift         `json:"rows"`   // what the kernel holds of it, read anew
	Way     *UnderlayOfVTEP `json:"way,omitempty"`
}

// Step is one link of the chain, in the order of cause and effect: "vni", "seen",
// "static", "moves" or "duplicate", "routes", "stale", "limit", "owner", "address", "announced",
// "kernel", "underlay", "mtu", "suppression", as far as they apply; of what nobody
// knows "seen", "routes", "vni", "vtep", "neighbors", "shed", "nobody".
type Step struct {
	Step    string   `json:"step"`
	Status  string   `json:"status"`
	Text    string   `json:"text"`
	Details []string `json:"details"`
}

// RouteVerdict is a route and what became of it.
type RouteVerdict struct {
	Route
	Verdict string         `json:"verdict"` // in words
	By      evpn.Criterion `json:"by"`      // the rule that decided a comparison
	Mine    string         `json:"mine"`    // what the route has there
	Theirs  string         `json:"theirs"`  // what its opponent has
}

// UnderlayOfVTEP is the way to a remote VTEP.
type UnderlayOfVTEP struct {
	Reachable bool       `json:"reachable"`
	Reason    string     `json:"reason"`
	Device    string     `json:"device"`
	Gateway   netip.Addr `json:"gateway"`
	MTUBytes  int        `json:"mtu"`
}

// ExplainFilter says what is to be explained: one of MAC and IP.
type ExplainFilter struct {
	MAC evpn.MAC
	IP  netip.Addr
	VNI evpn.VNI // 0 = every VNI that knows it
}

func (f ExplainFilter) query() url.Values {
	q := url.Values{}
	setMAC(q, f.MAC)
	setAddr(q, "ip", f.IP)
	setVNI(q, f.VNI)
	return q
}

func parseExplainFilter(q url.Values) (f ExplainFilter, err error) {
	p := queryParser{q: q}
	f = ExplainFilter{MAC: p.mac(), IP: p.addr("ip"), VNI: p.vni()}
	if f.MAC.IsZero() == !f.IP.IsValid() {
		p.fail(errors.New("want one of mac and ip"))
	}
	return f, p.finish()
}
