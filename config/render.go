package config

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"strings"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// TOML renders the effective configuration: every key with its value, defaults
// included, "auto" targets resolved, all VNIs in one file. Reading it back gives
// an equal Config, but for inline passwords, which are never printed.
func (c *Config) TOML() string {
	var b strings.Builder
	writeTable(&b, "", reflect.ValueOf(c.raw()).Elem())
	return strings.TrimPrefix(b.String(), "\n")
}

// raw is the way back from Config to the structs that mirror the file.
func (c *Config) raw() *rawConfig {
	raw := &rawConfig{
		BGP: &rawBGP{
			ASN: integer(c.BGP.ASN), RouterID: address(c.BGP.RouterID),
			ListenPort: integer(c.BGP.ListenPort), ListenAddresses: list(c.BGP.ListenAddresses),
			HoldTime: text(seconds(c.BGP.HoldTime)), GracefulRestartTime: text(seconds(c.BGP.GracefulRestartTime)),
		},
		Duplicate: &rawDuplicate{
			Moves: integer(c.Duplicate.Moves), Window: text(seconds(c.Duplicate.Window)),
			Recovery: text(seconds(c.Duplicate.Recovery)),
		},
		Flood: &rawFlood{
			Engine: &c.Flood.Engine, Interface: &c.Flood.Interface, ServiceAddress: text(orEmpty(c.Flood.ServiceAddress)),
			LearnFromData: &c.Flood.LearnFromData, HoldTime: text(seconds(c.Flood.HoldTime)), RateLimitPPS: integer(c.Flood.RateLimit),
		},
		API: &rawAPI{
			Socket: &c.API.Socket, MetricsListen: &c.API.MetricsListen, GoBGPListen: &c.API.GoBGPListen,
		},
		Log:   &rawLog{Level: &c.Log.Level, Format: &c.Log.Format, Destination: &c.Log.Destination},
		State: &rawState{Directory: &c.State.Directory},
	}
	if c.VTEP.Address.IsValid() || c.VTEP.Interface != "" {
		raw.VTEP = &rawVTEP{
			Address: address(c.VTEP.Address), Interface: nonEmpty(c.VTEP.Interface),
			UDPPort: integer(c.VTEP.UDPPort), Unreachable: text(string(c.VTEP.Unreachable)),
		}
	}
	for i := range c.Neighbors {
		raw.Neighbor = append(raw.Neighbor, c.Neighbors[i].raw())
	}
	for i := range c.VNIs {
		raw.VNI = append(raw.VNI, c.VNIs[i].raw())
	}
	return raw
}

func (n *Neighbor) raw() rawNeighbor {
	r := rawNeighbor{
		Address: address(n.Address), ASN: integer(n.ASN), Description: &n.Description,
		PasswordFile:         nonEmpty(n.PasswordFile),
		RouteReflectorClient: &n.RouteReflectorClient, Passive: &n.Passive, TTLSecurity: &n.TTLSecurity,
		EBGPMultihop: integer(n.EBGPMultihop), MaxPrefixes: integer(n.MaxPrefixes),
		HoldTime: text(seconds(n.HoldTime)), KeepaliveTime: text(seconds(n.KeepaliveTime)),
		LongLivedStaleTime: text(seconds(n.LongLivedStaleTime)), ReplicatorRoute: text(string(n.ReplicatorRoute)),
		BFD: &n.BFD.Enabled, BFDInterval: text(seconds(n.BFD.Interval)),
		BFDMultiplier: integer(n.BFD.Multiplier), BFDMode: text(string(n.BFD.Mode)),
	}
	if n.Prefix.IsValid() {
		r.Prefix = text(n.Prefix.String())
	} else {
		r.Port, r.ConnectRetry = integer(n.Port), text(seconds(n.ConnectRetry))
	}
	if n.Password != "" && n.PasswordFile == "" {
		r.Password = text(hidden)
	}
	return r
}

func (v *VNI) raw() rawVNI {
	r := rawVNI{
		ID: integer(v.ID), Device: &v.Device, Bridge: &v.Bridge, Manage: &v.Manage, Ports: list(v.Ports),
		MTU: integer(v.MTU), UDPPort: integer(v.UDPPort), RD: text(autoWord),
		ExportRT: list(v.Export), ImportRT: list(v.Import), Flooding: text(string(v.Flooding)),
		ARPSuppression: &v.Suppression, AdvertiseSVI: &v.AdvertiseSVI, MaxMACs: integer(v.MaxMACs),
		AnycastGateway: &v.AnycastGateway, MaxIPsPerMAC: integer(v.MaxIPsPerMAC), MaxIPsPerPort: integer(v.MaxIPsPerPort),
	}
	if v.RD != (evpn.RD{}) {
		r.RD = text(v.RD.String())
	}
	if m := v.Multicast; m != nil {
		r.Multicast = &rawMulticast{
			Group: address(m.Group), Interface: &m.Interface, ProxyVTEPs: &m.ProxyVTEPs, ProxyMACs: &m.ProxyMACs,
			SegmentDelivery: text(string(m.Delivery)), Segment: list(m.Segment),
		}
	}
	if v.Flooding == evpn.FloodMulticast || v.Flooding == evpn.FloodReplicator {
		r.RateLimitPPS = integer(v.RateLimit)
	}
	for _, a := range v.StaticVTEPs {
		r.StaticVTEP = append(r.StaticVTEP, rawStaticVTEP{Address: address(a)})
	}
	for _, m := range v.StaticMACs {
		r.StaticMAC = append(r.StaticMAC, rawStaticMAC{
			MAC: text(m.MAC.String()), VTEP: address(m.VTEP), IP: address(m.IP),
		})
	}
	return r
}

func integer[T ~int | ~uint16 | ~uint32](v T) *int64 {
	i := int64(v)
	return &i
}

func text(s string) *string { return &s }

func nonEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func address(a netip.Addr) *string {
	if !a.IsValid() {
		return nil
	}
	return text(a.String())
}

// orEmpty is the text of an address, "" for none.
func orEmpty(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func list[T any](values []T) *[]string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = fmt.Sprint(v)
	}
	return &texts
}

// hidden marks a password that is set but not printed.
const hidden = "\x00hidden"

// writeTable writes the keys of a raw struct, plain ones first as TOML wants it,
// then its tables.
func writeTable(b *strings.Builder, path string, v reflect.Value) {
	for i := range v.NumField() {
		name, ok := keyOf(v.Type().Field(i))
		if !ok || v.Field(i).IsNil() {
			continue
		}
		switch p := v.Field(i).Interface().(type) {
		case *string:
			if *p == hidden {
				fmt.Fprintf(b, "# %s is set and not shown\n", name)
				continue
			}
			fmt.Fprintf(b, "%s = %s\n", name, quote(*p))
		case *int64:
			fmt.Fprintf(b, "%s = %d\n", name, *p)
		case *bool:
			fmt.Fprintf(b, "%s = %t\n", name, *p)
		case *[]string:
			quoted := make([]string, len(*p))
			for i, s := range *p {
				quoted[i] = quote(s)
			}
			fmt.Fprintf(b, "%s = [%s]\n", name, strings.Join(quoted, ", "))
		}
	}
	for i := range v.NumField() {
		name, ok := keyOf(v.Type().Field(i))
		if !ok {
			continue
		}
		f := v.Field(i)
		switch {
		case f.Kind() == reflect.Slice:
			for j := range f.Len() {
				fmt.Fprintf(b, "\n[[%s]]\n", join(path, name))
				writeTable(b, join(path, name), f.Index(j))
			}
		case f.Kind() == reflect.Pointer && f.Type().Elem().Kind() == reflect.Struct && !f.IsNil():
			fmt.Fprintf(b, "\n[%s]\n", join(path, name))
			writeTable(b, join(path, name), f.Elem())
		}
	}
}

// quote gives a TOML basic string. Go's quoting differs in its escapes for
// control characters, so they are spelled out.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// MarshalJSON gives the same as [Config.TOML] as JSON, keys and values alike.
func (c *Config) MarshalJSON() ([]byte, error) {
	return json.Marshal(jsonTable(reflect.ValueOf(c.raw()).Elem()))
}

func jsonTable(v reflect.Value) map[string]any {
	table := map[string]any{}
	for i := range v.NumField() {
		name, ok := keyOf(v.Type().Field(i))
		if !ok {
			continue
		}
		switch f := v.Field(i); {
		case f.Kind() == reflect.Slice:
			list := make([]any, f.Len())
			for j := range list {
				list[j] = jsonTable(f.Index(j))
			}
			table[name] = list
		case f.IsNil() || f.Elem().Kind() == reflect.String && f.Elem().String() == hidden:
		case f.Elem().Kind() == reflect.Struct:
			table[name] = jsonTable(f.Elem())
		default:
			table[name] = f.Interface()
		}
	}
	return table
}
