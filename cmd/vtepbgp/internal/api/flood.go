package api

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Flood is the flood list of one VNI, and what is done with it.
type Flood struct {
	VNI  evpn.VNI       `json:"vni"`
	Mode evpn.FloodMode `json:"mode"`
	// Engine copies: "kernel", or the flooding module's "ebpf" or "socket"; "" when nobody
	// does. EngineReason says why it is this one.
	Engine       string `json:"engine"`
	EngineReason string `json:"engine_reason"`
	// Interfaces are those on which the flooding module listens; Interface is the first, that of the
	// segment where there is one.
	Interface  string   `json:"interface"`
	Interfaces []string `json:"interfaces"`
	// Group is where the kernel sends frames to, and Segment the VTEPs that hear it.
	Group          netip.Addr     `json:"group"`
	Segment        []netip.Prefix `json:"segment"`
	ServiceAddress netip.Addr     `json:"service_address"` // at which we take frames to copy
	// Tasks are what the flooding module does now.
	Tasks []FloodTask `json:"tasks"`
	// Elected is who copies for the segment, perhaps ourselves; "" when nobody does.
	Elected  netip.Addr  `json:"elected"`
	VTEPs    []FloodVTEP `json:"vteps"`
	Problems []string    `json:"problems"`
	// Engines are those of Interfaces, which they serve for all VNIs.
	Engines []FloodEngine `json:"engines"`
	// Counters of the flooding module: see the constants; {} where the kernel copies.
	Counters map[string]uint64 `json:"counters"`
}

// FloodEngine is what copies on an interface.
type FloodEngine struct {
	Interface string `json:"interface"`
	Engine    string `json:"engine"` // "" while there is none
	// Details are what it found the kernel to have, how its program is attached among them.
	Details []string `json:"details"`
	// Repairs counts what somebody else broke and the engine mended.
	Repairs uint64 `json:"repairs"`
	// Failures counts attempts to have frames copied there, or to mend that, which failed.
	Failures uint64 `json:"failures"`
	// Dropped are packets of no VNI, by reason.
	Dropped map[string]uint64 `json:"dropped"`
}

// FloodVTEP is one member of a flood list.
type FloodVTEP struct {
	Address netip.Addr       `json:"address"`
	Source  evpn.FloodSource `json:"source"`
	Role    evpn.FloodRole   `json:"role"`
	// Kernel says that the kernel is to send copies to it, Installed that it has the row for that.
	Kernel    bool `json:"kernel"`
	Installed bool `json:"installed"`
	Copied    bool `json:"copied"` // the flooding module sends copies to it
}

// FloodTask is something that the flooding module does for a VNI.
type FloodTask string

// The tasks.
const (
	FloodOwn       FloodTask = "own"       // copies what this host sends to the group
	FloodSegment   FloodTask = "segment"   // copies what others of the segment send to the group
	FloodDeliver   FloodTask = "deliver"   // sends what comes from elsewhere to the group
	FloodReplicate FloodTask = "replicate" // copies what others send to the service address
)

// FloodTasks lists what r says, in the order of the constants; never nil.
func FloodTasks(r evpn.Relay) []FloodTask {
	tasks := []FloodTask{}
	for _, t := range []struct {
		does bool
		task FloodTask
	}{{r.Own, FloodOwn}, {r.Segment, FloodSegment}, {r.Deliver, FloodDeliver}, {r.Replicate, FloodReplicate}} {
		if t.does {
			tasks = append(tasks, t.task)
		}
	}
	return tasks
}

// Names of [Flood.Counters]. Behind FloodDroppedPrefix stands the reason, for those that
// occurred; some count packets, and those of sending count copies.
const (
	FloodIn            = "in"      // packets heard
	FloodCopied        = "copied"  // of these, copied to somebody
	FloodCopies        = "copies"  // given to the wire
	FloodRepairs       = "repairs" // of its engines, its membership of a group, its service address
	FloodDroppedPrefix = "dropped_"
)
