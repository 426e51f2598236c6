package config

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/vtepbgp/vtepbgp/evpn"
)

const (
	autoWord    = "auto"
	rfc8365Word = "rfc8365"
)

// rfc8365Number is the upper half of the local administrator field of an
// auto-derived target: A=0, type 1 (VXLAN), domain 0 (RFC 8365 §5.1.2.1).
const rfc8365Number = 0x10000000

func (r *rawVNI) validate(c *Config) VNI {
	required(r.scope, "id", r.ID, "the VXLAN network identifier, such as id = 100")
	id := evpn.VNI(intKey(r.scope, "id", r.ID, 0, 1, int64(evpn.MaxVNI)))
	v := VNI{
		ID:      id,
		Device:  checkedKey(r.scope, "device", r.Device, fmt.Sprintf("vxlan%d", id), checkIfname),
		Bridge:  checkedKey(r.scope, "bridge", r.Bridge, fmt.Sprintf("br%d", id), checkIfname),
		Manage:  value(r.Manage, true),
		MTU:     int(intKey(r.scope, "mtu", r.MTU, 0, 0, maxMTU)),
		UDPPort: uint16(intKey(r.scope, "udp_port", r.UDPPort, int64(c.VTEP.UDPPort), 1, maxPort)),
		RD:      textKey(r.scope, "rd", r.RD, evpn.RD{}, parseRD),
		Flooding: wordKey(r.scope, "flooding", r.Flooding,
			evpn.FloodIngress, evpn.FloodMulticast, evpn.FloodAssisted, evpn.FloodReplicator, evpn.FloodOff),
		RateLimit:    int(intKey(r.scope, "rate_limit_pps", r.RateLimitPPS, int64(c.Flood.RateLimit), 0, math.MaxInt32)),
		Suppression:  value(r.ARPSuppression, true),
		AdvertiseSVI: value(r.AdvertiseSVI, false),
		MaxMACs:      int(intKey(r.scope, "max_macs", r.MaxMACs, 0, 0, math.MaxInt32)),

		AnycastGateway: value(r.AnycastGateway, false),
		MaxIPsPerMAC:   int(intKey(r.scope, "max_ips_per_mac", r.MaxIPsPerMAC, defaultIPsPerMAC, 0, math.MaxInt32)),
		MaxIPsPerPort:  int(intKey(r.scope, "max_ips_per_port", r.MaxIPsPerPort, defaultIPsPerPort, 0, math.MaxInt32)),
	}
	if v.AnycastGateway {
		if r.AdvertiseSVI != nil && !v.AdvertiseSVI {
			r.problem(r.key("advertise_svi"), "contradicts anycast_gateway = true, which announces the bridge's own MAC and addresses: remove it")
		}
		v.AdvertiseSVI = true
	}
	if v.MTU != 0 && v.MTU < minMTU {
		r.problem(r.key("mtu"), "want 0 (what the underlay leaves) or %d to %d, got %d", minMTU, maxMTU, v.MTU)
	}
	v.Ports = listKey(r.scope, "ports", r.Ports, func(s string) (string, error) { return s, checkIfname(s) }, func(string, string) {})
	v.Export = r.exportTargets(c.BGP.ASN, id)
	v.Import = r.importTargets(id)
	r.statics(&v, c.VTEP.Address)
	r.flooding(&v, c)
	return v
}

func parseRD(s string) (evpn.RD, error) {
	if s == autoWord {
		return evpn.RD{}, nil
	}
	rd, err := evpn.ParseRD(s)
	if err != nil || rd == (evpn.RD{}) {
		return evpn.RD{}, fmt.Errorf(`want "auto" or a route distinguisher such as "10.0.0.1:5" or "65000:100", got %q`, s)
	}
	return rd, nil
}

// exportTargets resolves "auto" and "rfc8365" for our own ASN. asn or id is zero
// when it is known to be wrong; then nothing more is said about what follows.
func (r *rawVNI) exportTargets(asn uint32, id evpn.VNI) []evpn.RouteTarget {
	texts := value(r.ExportRT, []string{autoWord})
	seen := map[evpn.RouteTarget]bool{}
	parse := func(s string) (evpn.RouteTarget, error) {
		switch s {
		case autoWord:
			rt, ok := evpn.AutoRouteTarget(asn, id)
			if !ok {
				return rt, fmt.Errorf(`"auto" is ASN:VNI, but the 4-octet ASN %d leaves 16 bits and VNI %d needs more: give an explicit target such as "64512:%d"`, asn, id, id)
			}
			return rt, nil
		case rfc8365Word:
			rt, ok := evpn.RFC8365RouteTarget(asn, id)
			if !ok {
				return rt, fmt.Errorf(`"rfc8365" exists for 2-octet ASNs only, bgp.asn is %d: give "auto" or an explicit target`, asn)
			}
			return rt, nil
		}
		rt, err := evpn.ParseRouteTarget(s)
		if err != nil {
			return rt, fmt.Errorf(`want "auto", "rfc8365", ASN:N or IPV4:N, got %q`, s)
		}
		return rt, nil
	}
	if r.ExportRT == nil {
		rt, err := parse(autoWord)
		if err != nil {
			r.missing("export_rt", err.Error())
		}
		return []evpn.RouteTarget{rt}
	}
	if len(texts) == 0 {
		r.problem(r.key("export_rt"), `want at least one target, such as ["auto"]: without one nobody imports our routes`)
	}
	return listKey(r.scope, "export_rt", r.ExportRT, parse, func(key string, rt evpn.RouteTarget) {
		if seen[rt] {
			r.problem(key, "%s is listed twice", rt)
		}
		seen[rt] = true
	})
}

// importTargets resolves "auto" to *:VNI and "rfc8365" to the auto-derived form
// of any ASN; both take the neighbour's ASN as it comes, for eBGP fabrics.
func (r *rawVNI) importTargets(id evpn.VNI) []evpn.ImportTarget {
	auto := evpn.ImportTarget{AnyAdmin: true, Number: uint32(id)}
	if r.ImportRT == nil {
		return []evpn.ImportTarget{auto}
	}
	if len(*r.ImportRT) == 0 {
		r.problem(r.key("import_rt"), `want at least one target, such as ["auto"]: without one no route is used`)
	}
	seen := map[evpn.ImportTarget]bool{}
	return listKey(r.scope, "import_rt", r.ImportRT, func(s string) (evpn.ImportTarget, error) {
		switch s {
		case autoWord:
			return auto, nil
		case rfc8365Word:
			return evpn.ImportTarget{AnyAdmin: true, Number: rfc8365Number | uint32(id)}, nil
		}
		t, err := evpn.ParseImportTarget(s)
		if err != nil {
			return t, fmt.Errorf(`want "auto", "rfc8365", ASN:N, IPV4:N or *:N, got %q`, s)
		}
		return t, nil
	}, func(key string, t evpn.ImportTarget) {
		if seen[t] {
			r.problem(key, "%s is listed twice", t)
		}
		seen[t] = true
	})
}

// statics reads static_vtep and static_mac; local is our own VTEP address.
func (r *rawVNI) statics(v *VNI, local netip.Addr) {
	remote := func(s string) (netip.Addr, error) {
		a, err := parseVTEP(s)
		switch {
		case err != nil || !local.IsValid():
		case a == local:
			err = fmt.Errorf("%s is our own VTEP address: want that of another host", a)
		case a.Is4() != local.Is4():
			err = fmt.Errorf("want an address of the same family as vtep.address %s, got %s", local, a)
		}
		return a, err
	}
	vteps := map[netip.Addr]string{}
	for _, s := range r.StaticVTEP {
		required(s.scope, "address", s.Address, `the remote's address, such as address = "10.0.0.9"`)
		if a := textKey(s.scope, "address", s.Address, netip.Addr{}, remote); a.IsValid() {
			claim(s.scope, vteps, a, s.key("address"), "%v is already listed at %s")
			v.StaticVTEPs = append(v.StaticVTEPs, a)
		}
	}
	if len(r.StaticVTEP) > 0 && v.Flooding == evpn.FloodOff {
		r.problem(r.key("static_vtep"), `has no effect with flooding = "off": there is no flood list to join`)
	}
	behind, bare, ips := map[evpn.MAC]netip.Addr{}, map[evpn.MAC]string{}, map[netip.Addr]string{}
	for _, s := range r.StaticMAC {
		required(s.scope, "mac", s.MAC, `the host's MAC, such as mac = "00:11:22:33:44:55"`)
		required(s.scope, "vtep", s.VTEP, `the VTEP it lives behind, such as vtep = "10.0.0.9"`)
		m := evpn.StaticMAC{
			MAC:  textKey(s.scope, "mac", s.MAC, evpn.MAC{}, parseMAC),
			VTEP: textKey(s.scope, "vtep", s.VTEP, netip.Addr{}, remote),
			IP:   textKey(s.scope, "ip", s.IP, netip.Addr{}, parseUnicast),
		}
		v.StaticMACs = append(v.StaticMACs, m)
		if m.MAC.IsZero() || !m.VTEP.IsValid() {
			continue
		}
		if first, ok := behind[m.MAC]; ok && first != m.VTEP {
			s.problem(s.key("vtep"), "%s was said to live behind %s: a MAC lives behind one VTEP", m.MAC, first)
			continue
		}
		behind[m.MAC] = m.VTEP
		if m.IP.IsValid() { // one MAC may have several addresses, one entry each
			claim(s.scope, ips, m.IP, s.key("ip"), "%v is already listed at %s")
		} else {
			claim(s.scope, bare, m.MAC, s.key("mac"), "%v is already listed at %s")
		}
	}
}

// checkVNIsTogether finds what two VNIs cannot share. Interface names of all
// uses share one space: a bridge cannot be another VNI's port.
func checkVNIsTogether(raw []rawVNI, vnis []VNI) {
	ids, rds, names := map[evpn.VNI]string{}, map[evpn.RD]string{}, map[string]string{}
	for i := range vnis {
		r, v := &raw[i], &vnis[i]
		if v.ID == 0 { // the defaults of its names are as wrong as its id
			continue
		}
		if first, taken := ids[v.ID]; taken {
			r.problem(r.key("id"), "VNI %d is already configured at %s", v.ID, first)
			continue
		}
		ids[v.ID] = r.at(r.key("id"))
		if v.RD != (evpn.RD{}) {
			claim(r.scope, rds, v.RD, r.key("rd"), "%v is already the rd of the VNI at %s: every VNI needs its own")
		}
		use := func(key, name, what string) {
			if name == "" {
				return
			}
			if first, taken := names[name]; taken {
				hint := ""
				if what == "bridge" && strings.HasPrefix(first, "the bridge") {
					hint = "; one bridge carries one VNI"
				}
				r.problem(key, "interface %s is already %s%s", name, first, hint)
				return
			}
			names[name] = fmt.Sprintf("the %s of VNI %d (%s)", what, v.ID, r.at(key))
		}
		use(r.key("device"), v.Device, "device")
		use(r.key("bridge"), v.Bridge, "bridge")
		for j, p := range v.Ports {
			use(r.keyAt("ports", j), p, "port")
		}
	}
}
