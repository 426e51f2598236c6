package daemon

import (
	"net/netip"
	"time"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding"
	"github.com/vtepbgp/vtepbgp/config"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
)

// leaving are service addresses that the configuration has no more, and until when they stay: what leaves
// still send there is copied ([flooding.Linger]), and our own hosts get it from the kernel. It is for who
// changes the configuration, one at a time.
type leaving map[netip.Addr]time.Time

// leave notes what next gives up of old.
func (l leaving) leave(old, next *config.Config, now time.Time) {
	delete(l, next.Flood.ServiceAddress)
	if s := old.Flood.ServiceAddress; s.IsValid() && s != next.Flood.ServiceAddress {
		for _, v := range old.VNIs {
			if v.Flooding == evpn.FloodReplicator {
				l[s] = now.Add(flooding.Linger)
			}
		}
	}
}

// gone forgets those whose time is over, and reports whether there were any.
func (l leaving) gone(now time.Time) (any bool) {
	for s, until := range l {
		if !now.Before(until) {
			delete(l, s)
			any = true
		}
	}
	return any
}

// kernelConfig is what the kernel is to have for cfg, and for a while yet for those before.
func (l leaving) kernelConfig(cfg *config.Config) kernel.Config {
	k := kernelConfig(cfg)
	for s := range l {
		k.ServiceAddresses = append(k.ServiceAddresses, s)
	}
	return k
}
