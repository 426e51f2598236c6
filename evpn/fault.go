package evpn

// fault is a [Reason] in one octet, for what can be said of a received route
// without asking who else has the MAC. The zero value is a route fit for use.
type fault uint8

const (
	fit fault = iota
	faultOwnNextHop
	faultNextHopNotUnicast
	faultGroupMAC
	faultZeroMAC
	faultLabelZero
	faultNoImport
	faultLabelMismatch
	faultNotVXLAN
	faultNoPMSI
	faultPMSINotIngress
	faultTagNotZero
	faultTypeNotUsed
	faultAddressFamily
	faultOwnService
	faultNotReplicator
	faultOwnRoute
)

var faultReasons = [...]Reason{
	fit:                    "",
	faultOwnNextHop:        OwnNextHop,
	faultNextHopNotUnicast: NextHopNotUnicast,
	faultGroupMAC:          GroupMAC,
	faultZeroMAC:           ZeroMAC,
	faultLabelZero:         LabelZero,
	faultNoImport:          NoImportMatch,
	faultLabelMismatch:     LabelMismatch,
	faultNotVXLAN:          NotVXLAN,
	faultNoPMSI:            NoPMSI,
	faultPMSINotIngress:    PMSINotIngress,
	faultTagNotZero:        TagNotZero,
	faultTypeNotUsed:       TypeNotUsed,
	faultAddressFamily:     AddressFamilyDiffs,
	faultOwnService:        OwnService,
	faultNotReplicator:     NotReplicator,
	faultOwnRoute:          OwnRoute,
}

func (f fault) reason() Reason { return faultReasons[f] }

// notable reports a fault that an operator should hear of. The others are daily
// life: our own routes come back from every reflector, replicators share an anycast
// address, a fabric is full of routes for VNIs that are not here, and type-5 is not
// for us.
func (f fault) notable() bool {
	switch f {
	case fit, faultOwnNextHop, faultOwnService, faultOwnRoute, faultNoImport, faultTypeNotUsed:
		return false
	default:
		return true
	}
}

// noteFault notes that p is ignored, once for each change of the reason.
func (c *Core) noteFault(p *path, was fault) {
	if p.fault == was || !p.fault.notable() {
		return
	}
	n := Note{
		Kind: NoteRouteIgnored, VNI: p.VNI(), MAC: p.Key.MAC, VTEP: p.set.attrs.NextHop,
		Neighbor: p.nb.addr, Reason: p.fault.reason(), Detail: p.Key.String(),
	}
	c.notes = append(c.notes, n)
}
