package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Verdict says in words what became of a route.
func Verdict(c evpn.Candidate) string {
	v := c.Verdict
	switch v.Reason {
	case "":
		return "in use"
	case evpn.NoImportMatch:
		return "not imported: " + noImport(c.RouteInfo)
	case evpn.LosesElection:
		return "lost: " + comparison(v, "the other")
	case evpn.LosesToLocal:
		if v.By == "" {
			return "lost: the host is local"
		}
		return "lost to the local host: " + comparison(v, "the local one")
	case evpn.LosesToStatic:
		return "lost: the configuration says otherwise (static_mac)"
	case evpn.LosesToHeard:
		if v.By == "" {
			return "says what we heard on the segment"
		}
		return "lost to what we heard on the segment: " + comparison(v, "that")
	case evpn.GatewayIsLocal:
		return "not used: the MAC is our own anycast gateway"
	case evpn.NextHopUnreachable:
		return "not used: next hop is unreachable" + because(c.UnreachableReason)
	case evpn.DuplicateFrozen:
		return "not used: the MAC is frozen as duplicate"
	default:
		return "not used: " + string(v.Reason)
	}
}

func noImport(r evpn.RouteInfo) string {
	if r.Attrs == nil || len(r.Attrs.RouteTargets) == 0 {
		return "it has no route target"
	}
	return "no VNI imports its route targets " + joined(r.Attrs.RouteTargets)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// comparison puts the rule that decided and its operands into words.
func comparison(v evpn.Verdict, other string) string {
	switch v.By {
	case evpn.ByLongLived:
		return "it is long-lived stale, " + other + " is not"
	case evpn.BySticky:
		return "it is not sticky, " + other + " is"
	case evpn.BySequence:
		return fmt.Sprintf("sequence %s is lower than %s", v.Mine, v.Theirs)
	case evpn.ByNextHop:
		return fmt.Sprintf("next hop %s is higher than %s", v.Mine, v.Theirs)
	case evpn.ByOutdated:
		return "its neighbour restarts, and another has a fresh copy"
	case evpn.ByStale:
		return "it is stale, " + other + " is not"
	case evpn.ByLocalPref:
		return fmt.Sprintf("local preference %s is lower than %s", v.Mine, v.Theirs)
	case evpn.ByASPath:
		return fmt.Sprintf("AS path of %s is longer than %s", v.Mine, v.Theirs)
	case evpn.ByOrigin:
		return fmt.Sprintf("origin %s is worse than %s", v.Mine, v.Theirs)
	case evpn.ByMED:
		return fmt.Sprintf("MED %s is higher than %s", v.Mine, v.Theirs)
	case evpn.ByNeighbor:
		return fmt.Sprintf("a copy; neighbour %s is higher than %s", v.Mine, v.Theirs)
	case evpn.ByGateway:
		return "the MAC is our own anycast gateway"
	case evpn.ByKey:
		return "equal to " + v.Theirs + ", which comes first in order"
	default:
		return string(evpn.LosesElection)
	}
}

// routeLine says who sends a route, what it says, and what became of it.
func routeLine(c evpn.Candidate) string {
	words := []string{c.Neighbor.String() + ":"}
	if c.Attrs != nil {
		words = append(words, "at "+c.Attrs.NextHop.String())
	}
	if c.Key.IP.IsValid() {
		words = append(words, "with "+c.Key.IP.String())
	}
	words = append(words, "rd "+c.Key.RD.String())
	if a := c.Attrs; a != nil {
		if a.Mobility.Sequence > 0 {
			words = append(words, fmt.Sprintf("sequence %d", a.Mobility.Sequence))
		}
		if a.Mobility.Sticky {
			words = append(words, "sticky")
		}
		if a.DefaultGateway {
			words = append(words, "gateway")
		}
	}
	switch {
	case c.LongLivedStale:
		words = append(words, "long-lived stale")
	case c.Stale:
		words = append(words, "stale")
	}
	return strings.Join(words, " ") + ", " + Verdict(c)
}

func joined[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, x := range list {
		texts[i] = x.String()
	}
	return strings.Join(texts, ", ")
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// ago says how long something is past, or to come.
func ago(now, then time.Time) string { return now.Sub(then).Abs().Round(time.Second).String() }

// sources are the ways in which an IP address is learned.
var sources = map[string]string{
	"kernel": "known to the kernel", "arp": "heard in ARP", "nd": "heard in ND", "dhcp": "given by DHCP",
}

func localIP(i evpn.LocalIP) string {
	text := i.IP.String()
	if how := sources[i.Source]; how != "" {
		text += ", " + how
	}
	if i.Router {
		text += ", a router"
	}
	if !i.Announced {
		text += ", not announced"
	}
	return text
}

// name is what was asked for.
func name(mac evpn.MAC, ip netip.Addr) string {
	if ip.IsValid() {
		return ip.String()
	}
	return mac.String()
}
