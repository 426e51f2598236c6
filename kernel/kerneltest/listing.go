package kerneltest

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/kernel"
)

// FDB prints the forwarding rows as `bridge fdb` does, sorted.
func (f *Fake) FDB() []string {
	names := f.names()
	var out []string
	for _, n := range f.rows(unix.AF_BRIDGE) {
		out = append(out, fdbLine(n, names))
	}
	slices.Sort(out)
	return out
}

// Neighbors prints the neighbours as `ip neigh` does, sorted.
func (f *Fake) Neighbors() []string {
	names := f.names()
	var out []string
	for _, n := range append(f.rows(unix.AF_INET), f.rows(unix.AF_INET6)...) {
		out = append(out, neighborLine(n, names))
	}
	slices.Sort(out)
	return out
}

func (f *Fake) names() map[int32]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := map[int32]string{}
	for i, l := range f.links {
		names[i] = l.Name
	}
	return names
}

// fdbLine orders its words as iproute2's print_fdb.
func fdbLine(n kernel.Neighbor, names map[int32]string) string {
	words := []string{n.MAC.String(), "dev", names[n.Index]}
	add := func(on bool, w ...string) {
		if on {
			words = append(words, w...)
		}
	}
	add(n.Addr.IsValid(), "dst", n.Addr.String())
	add(n.Via != 0, "via", names[n.Via])
	add(n.Flags&unix.NTF_SELF != 0, "self")
	add(n.Flags&unix.NTF_EXT_LEARNED != 0, "extern_learn")
	add(n.Flags&ntfSticky != 0, "sticky")
	add(n.Master != 0, "master", names[n.Master])
	add(n.State&unix.NUD_PERMANENT != 0, "permanent")
	add(n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) == unix.NUD_NOARP, "static")
	add(n.State == unix.NUD_STALE, "stale")
	return strings.Join(words, " ")
}

// neighborLine orders its words as iproute2's print_neigh.
func neighborLine(n kernel.Neighbor, names map[int32]string) string {
	words := []string{n.Addr.String(), "dev", names[n.Index]}
	if !n.MAC.IsZero() {
		words = append(words, "lladdr", n.MAC.String())
	}
	if n.Flags&unix.NTF_ROUTER != 0 {
		words = append(words, "router")
	}
	if n.Flags&unix.NTF_EXT_LEARNED != 0 {
		words = append(words, "extern_learn")
	}
	states := []struct {
		bit  uint16
		name string
	}{
		{unix.NUD_PERMANENT, "PERMANENT"}, {unix.NUD_REACHABLE, "REACHABLE"}, {unix.NUD_STALE, "STALE"},
		{unix.NUD_NOARP, "NOARP"}, {unix.NUD_FAILED, "FAILED"},
	}
	for _, s := range states {
		if n.State&s.bit != 0 {
			words = append(words, s.name)
		}
	}
	if n.Protocol != 0 {
		words = append(words, "proto", fmt.Sprint(n.Protocol))
	}
	return strings.Join(words, " ")
}

// tidy keeps what a test compares: no multicast subscriptions, none of the rows
// that a bridge has of its own ports' addresses.
func tidy(lines []string) []string {
	out := []string{}
	for _, l := range lines {
		l = strings.Join(strings.Fields(l), " ")
		own := strings.Contains(l, " master ") && strings.HasSuffix(l, " permanent")
		multicast := strings.HasPrefix(l, "33:33:") || strings.HasPrefix(l, "01:00:5e:") || strings.HasPrefix(l, "ff02:") || strings.HasPrefix(l, "224.")
		if l != "" && !own && !multicast {
			out = append(out, l)
		}
	}
	slices.Sort(out)
	return out
}
