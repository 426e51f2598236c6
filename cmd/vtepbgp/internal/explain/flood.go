package explain

import (
	"fmt"
	"net/netip"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/api"
	"github.com/vtepbgp/vtepbgp/evpn"
)

// flooded tells who gets a frame to a MAC that has no place: unknown unicast.
func (c *chain) flooded(f Flooding) {
	text, details, lost := f.unknownUnicast()
	if lost {
		c.warn("flooding", text, details...)
		return
	}
	c.step("flooding", api.StatusInfo, text, details...)
}

// maxListed is how many VTEPs of a list are told one by one.
const maxListed = 10

// unknownUnicast says it in words; lost is true when nobody gets what somebody should.
func (f Flooding) unknownUnicast() (text string, details []string, lost bool) {
	var (
		kernel, copied int
		chosen         netip.Addr
	)
	for _, v := range f.VTEPs {
		switch {
		case v.Role == evpn.RoleReplicator && v.Kernel:
			chosen = v.VTEP
		case v.Kernel:
			kernel++
		}
		if v.Copied {
			copied++
		}
		line := fmt.Sprintf("%s (%s)", v.VTEP, v.Source)
		if v.Role != evpn.RoleVTEP {
			line = fmt.Sprintf("%s (%s, %s)", v.VTEP, v.Source, v.Role)
		}
		if len(details) < maxListed {
			details = append(details, line)
		}
	}
	if more := len(f.VTEPs) - len(details); more > 0 {
		details = append(details, fmt.Sprintf("and %d more: vtepbgp flood show", more))
	}
	const frame = "a frame to it from here "
	switch f.Mode {
	case evpn.FloodOff:
		return frame + "goes nowhere: flooding is off for the VNI", nil, false
	case evpn.FloodMulticast:
		text = fmt.Sprintf("%sgoes to the group %s, which its segment hears", frame, f.Group)
		switch {
		case f.Engine == "":
			return text + "; no engine sends it on to the VTEPs elsewhere", details, copied > 0
		case !f.Relay.Own:
			return text + f.others(), details, false
		}
		return fmt.Sprintf("%s, and the flooding module (%s) sends it to %s elsewhere", text, f.Engine, plural(copied, "VTEP")), details, false
	case evpn.FloodAssisted:
		if chosen.IsValid() {
			return fmt.Sprintf("%sgoes to the replicator %s, which sends it to all VTEPs", frame, chosen), details, false
		}
	default: // the kernel copies
	}
	if kernel == 0 {
		return frame + "goes nowhere: no VTEP is on the flood list", details, false
	}
	return fmt.Sprintf("%sis flooded: the kernel sends it to %s", frame, plural(kernel, "VTEP")), details, false
}

// others says who copies what this host sends while it does not do so itself.
func (f Flooding) others() string {
	if f.Relay.Elected.IsValid() {
		return fmt.Sprintf("; %s sends it to the VTEPs elsewhere", f.Relay.Elected)
	}
	return "; it is not sent to the VTEPs elsewhere yet"
}
