package api

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Drift is one row or setting that is not as intended, or that is somebody else's.
type Drift struct {
	VNI     evpn.VNI   `json:"vni"`   // 0 for an address that no VNI alone has
	Table   string     `json:"table"` // "intent" | "link" | "flood" | "vxlan" | "bridge" | "neighbor" | "local" | "address"
	Link    string     `json:"link"`
	MAC     string     `json:"mac"`
	IP      netip.Addr `json:"ip"`      // VTEP or group of a flood row, host, or address of ours
	Setting string     `json:"setting"` // of a link
	// State is "missing", "wrong" or "extra"; "unconfirmed" for a row found at start
	// that waits for the neighbours' word, "foreign" for what we leave to others.
	State    string `json:"state"`
	Expected string `json:"expected"` // in the words of bridge(8), ip(8) and ip-link(8)
	Found    string `json:"found"`
	Pending  bool   `json:"pending"` // a write, or a decision, is on its way
	// Drift says that this is a difference which the daemon would repair; the other
	// ones are for information.
	Drift    bool   `json:"drift"`
	Repaired bool   `json:"repaired"`
	Error    string `json:"error"` // the kernel's answer to the last write
}
