package lab

import (
	"fmt"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

func (r *reader) links(t *Topology, n *yaml.Node) {
	used := map[Endpoint]int{}
	for i, l := range r.list(n, "topology.links") {
		key := fmt.Sprintf("topology.links[%d]", i)
		link := Link{MTU: DefaultMTU, Line: l.Line}
		var ends []*yaml.Node
		found := false
		for _, e := range r.mapping(l, key) {
			switch e.key {
			case "endpoints":
				ends, found = r.list(e.value, join(key, "endpoints")), true
			case "mtu":
				mtu, err := strconv.Atoi(e.value.Value)
				if err != nil || mtu < 68 || mtu > 65535 {
					r.addf(e.value, join(key, "mtu"), "%s is no MTU: a number from 68 to 65535", kindName(e.value))
					continue
				}
				link.MTU = mtu
			default:
				r.unsupported(e, key, linkKeys)
			}
		}
		if !found || len(ends) != 2 {
			r.addf(l, join(key, "endpoints"), `expected two, as in ["a:eth1", "b:eth1"]`)
			continue
		}
		var got [2]Endpoint
		good := true
		for j, en := range ends {
			got[j], good = r.endpoint(t, used, en, fmt.Sprintf("%s.endpoints[%d]", key, j), good)
		}
		if good {
			link.A, link.B = got[0], got[1]
			t.Links = append(t.Links, link)
		}
	}
}

func (r *reader) endpoint(t *Topology, used map[Endpoint]int, n *yaml.Node, key string, good bool) (Endpoint, bool) {
	if n.Kind == yaml.MappingNode {
		r.addf(n, key, `the long form of links is not supported by vtepbgp lab (supported: "node:interface")`)
		return Endpoint{}, false
	}
	text, ok := r.scalar(n, key)
	if !ok {
		return Endpoint{}, false
	}
	node, ifname, ok := strings.Cut(text, ":")
	e := Endpoint{node, ifname}
	switch {
	case !ok || node == "" || ifname == "":
		r.addf(n, key, "%q is no endpoint: write node:interface", text)
	case t.Node(node) == nil && (node == "host" || node == "mgmt-net" || node == "macvlan" || node == "dummy"):
		r.addf(n, key, "links of type %s are not supported by vtepbgp lab (supported: links between nodes)", node)
	case t.Node(node) == nil:
		r.addf(n, key, "there is no node %q", node)
	case ifname == "eth0" || ifname == "lo":
		r.addf(n, key, "%s is taken (containerlab's management interface is eth0): data links start at eth1", ifname)
	case len(ifname) > 15 || strings.ContainsAny(ifname, "/ \t"):
		r.addf(n, key, "%q is no interface name: at most 15 characters, no slash, no blank", ifname)
	case used[e] != 0:
		r.addf(n, key, "%s is already used on line %d", e, used[e])
	default:
		used[e] = n.Line
		return e, good
	}
	return Endpoint{}, false
}
