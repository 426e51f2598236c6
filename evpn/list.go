package evpn

import (
	"cmp"
	"net/netip"
)

// FloodSource says how a VTEP came onto a flood list.
type FloodSource string

// The sources, the most lasting first: a VTEP that has several shows the first.
const (
	SourceStatic FloodSource = "static" // the configuration, or `vtep add`
	SourceBGP    FloodSource = "bgp"    // a route of somebody else
	SourceProxy  FloodSource = "proxy"  // heard on the segment, and announced by us
	SourceData   FloodSource = "data"   // heard at the service address
)

// ListKey names an entry of what the flooding module knows for a VNI. It is comparable.
type ListKey struct {
	VNI  VNI
	VTEP netip.Addr
}

// Compare gives the canonical order: VNI, address.
func (k ListKey) Compare(o ListKey) int {
	return cmp.Or(cmp.Compare(k.VNI, o.VNI), k.VTEP.Compare(o.VTEP))
}

// ListValue is what the flooding module has to know of a VTEP. It is comparable.
type ListValue struct {
	Use    ListUse
	Source FloodSource
}

// ListUse is what the flooding module does with an entry.
type ListUse uint8

// The uses.
const (
	UseCopy    ListUse = iota + 1 // it gets copies
	UseItself                     // a VTEP of the segment that copies its own frames: nobody else does
	UseService                    // a replicator listens there: it never gets a copy
)

// ListEntry is an entry.
type ListEntry struct {
	ListKey
	ListValue
}

// ListChange sets an entry, or removes it.
type ListChange struct {
	ListEntry
	Remove bool
}

// Relay is what the flooding module does for a VNI at present, beside its list. It is
// comparable; the zero value but for VNI is nothing.
type Relay struct {
	VNI VNI
	// Own: it copies what this host sends to the group.
	Own bool
	// Segment: it copies what other VTEPs of the segment send to the group, but for
	// those of [UseItself].
	Segment bool
	// Deliver: it sends what arrives at the service address to the group.
	Deliver bool
	// Replicate: it copies what arrives at the service address to the list.
	Replicate bool
	// Standby: somebody else would copy for the segment in our place.
	Standby bool
	// Elected is who copies for the segment, ourselves included; zero when nobody does.
	Elected netip.Addr
}

// RelayChange sets what is done for a VNI, or ends it.
type RelayChange struct {
	Relay
	Remove bool
}
