package wire

import (
	"net/netip"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Session is what the codec must know of one established session. It also holds
// buffers and the cache by which UPDATEs with equal attributes share one [evpn.Attrs], so it must not be
// copied once used, and belongs to one goroutine.
type Session struct {
	FourOctetAS     bool // both sides announced it (RFC 6793)
	ExtendedMessage bool // both sides announced it (RFC 8654)
	EVPN            bool // both sides announced AFI 25, SAFI 70
	IBGP            bool
	LocalASN        uint32
	LocalRouterID   netip.Addr
	ClusterID       netip.Addr // zero = LocalRouterID (RFC 4456 §7)
	Transit         bool       // build [Update.Forward]; may change between UPDATEs
	Visible         bool       // … so that GoBGP's own tools see communities and tunnel, too

	interned        map[string]*attrSet
	internedTransit bool
	key             []byte // attributes of the UPDATE at hand, without NLRI
	reach           []byte // NLRI to forward
	unreach         []byte
}

// maxInterned bounds the cache of a session; past it the cache starts anew. A VTEP
// with 1,000 VNIs and a few sequence numbers stays below it.
const maxInterned = 4096

// Update is an UPDATE found well-formed, or what is left of it.
type Update struct {
	Announced []evpn.Route    // share Attrs where the attributes are equal
	Withdrawn []evpn.RouteKey // to be applied before Announced
	EndOfRIB  bool
	Others    int    // well-formed NLRI of types that never reach the core: 1, 4, 6 and later
	Drops     []Drop // what was left out, and why
	Forward   []byte // sanitised UPDATE body for GoBGP; nil when there is nothing to forward
	// ForwardMore are further bodies, to follow Forward in order, when one message cannot hold all.
	ForwardMore [][]byte
}

// Drop says what was left out of an UPDATE, or withdrawn because of an error.
type Drop struct {
	Reason string
	Count  int    // routes, or attributes for reasons that discard one
	Detail string // of the first one, for the log
}

// Reasons of a [Drop]. They are few and fixed, fit for a metric's label.
const (
	DropAttributeFlags     = "attribute flags"        // treat-as-withdraw
	DropAttributeLength    = "attribute length"       // treat-as-withdraw
	DropAttributeValue     = "attribute value"        // treat-as-withdraw
	DropAttributeMissing   = "attribute missing"      // treat-as-withdraw
	DropAttributeDiscarded = "attribute discarded"    // routes stay
	DropAttributeDuplicate = "attribute duplicate"    // routes stay
	DropNLRI               = "nlri malformed"         // route skip
	DropNLRIFraming        = "nlri framing"           // the rest of the attribute
	DropRouteType          = "route type not handled" // route skip (RFC 7606 §5.4)
	DropNotForwarded       = "route not forwarded"    // used here, not given to GoBGP
	DropFamily             = "family not negotiated"
	DropASLoop             = "own ASN in AS_PATH"
	DropOriginatorLoop     = "own router ID as ORIGINATOR_ID"
	DropClusterLoop        = "own cluster ID in CLUSTER_LIST"
)

func (u *Update) drop(reason string, n int, detail string) {
	if n == 0 {
		return
	}
	for i := range u.Drops {
		if u.Drops[i].Reason == reason {
			u.Drops[i].Count += n
			return
		}
	}
	u.Drops = append(u.Drops, Drop{reason, n, detail})
}
