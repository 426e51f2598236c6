package speaker

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// Reconfigure applies the difference to the configuration at hand: neighbours that did
// not change keep their sessions. What GoBGP and the listeners were started with cannot change.
func (s *Speaker) Reconfigure(cfg Config) error {
	if err := cfg.validate(); err != nil {
		return fmt.Errorf("check speaker configuration: %w", err)
	}
	s.mu.Lock()
	if err := s.cfg.sameServer(cfg); err != nil {
		s.mu.Unlock()
		return fmt.Errorf("reconfigure speaker: %w", err)
	}
	old := s.cfg
	cfg.Restarting, cfg.Expected = old.Restarting, old.Expected
	cfg.Neighbors = slices.Clone(cfg.Neighbors)
	s.cfg = cfg
	if !s.running {
		s.transit.Store(cfg.transit())
		s.mu.Unlock()
		return nil
	}
	gone, changed, err := s.applyDifference(old, cfg)
	s.mu.Unlock()
	for _, n := range changed {
		ack := make(chan struct{})
		n.order(order{notify: &wire.Error{Code: wire.CodeCease, Subcode: wire.SubConfigChange}, text: "configuration changed", release: true, renew: true, ack: ack})
		select {
		case <-ack:
		case <-n.done:
		}
	}
	for _, n := range gone {
		<-n.done
		s.emit(evpn.NeighborRemoved{Neighbor: n.addr})
	}
	s.mu.Lock()
	for _, n := range gone {
		s.forget(n)
	}
	for _, n := range cfg.Neighbors {
		if s.neighbors[n.Address] == nil && !n.dynamic() {
			s.addNeighbor(n.Address, n, netip.Prefix{})
		}
	}
	s.mu.Unlock()
	s.switchTransit(cfg.transit())
	return err
}

// sameServer says what would need a restart.
func (c Config) sameServer(o Config) error {
	var errs []error
	if c.ASN != o.ASN {
		errs = append(errs, errors.New("asn cannot change while running: restart"))
	}
	if c.RouterID != o.RouterID {
		errs = append(errs, errors.New("router ID cannot change while running: restart"))
	}
	if c.ListenPort != o.ListenPort || !slices.Equal(c.ListenAddresses, o.ListenAddresses) {
		errs = append(errs, errors.New("listen port and addresses cannot change while running: restart"))
	}
	if c.GoBGPListen != o.GoBGPListen {
		errs = append(errs, errors.New("gobgp API address cannot change while running: restart"))
	}
	return errors.Join(errs...)
}

// applyDifference stops neighbours that left, and gives them and those that need a new session; mu is held.
// A neighbour whose change touches neither OPEN nor socket takes it without losing its session.
func (s *Speaker) applyDifference(old, cfg Config) (gone, changed []*neighbor, err error) {
	global := old.HoldTime != cfg.HoldTime || old.GracefulRestartTime != cfg.GracefulRestartTime
	wanted := map[string]Neighbor{}
	for _, n := range cfg.Neighbors {
		wanted[n.name()] = n
	}
	before := map[string]Neighbor{}
	for _, n := range old.Neighbors {
		before[n.name()] = n
		if w, ok := wanted[n.name()]; !ok || w.Password != n.Password {
			err = errors.Join(err, s.setKeys(n, ""))
		}
	}
	for _, n := range cfg.Neighbors {
		if before[n.name()].Password != n.Password {
			err = errors.Join(err, s.setKeys(n, n.Password))
		}
	}
	for _, n := range s.neighbors {
		key := n.addr.String()
		if n.dynamic.IsValid() {
			key = n.dynamic.String()
		}
		w, ok := wanted[key]
		switch {
		case !ok:
			n.cancel()
			gone = append(gone, n)
		case global || before[key].needsReset(w):
			changed = append(changed, n)
			fallthrough
		default:
			w.Address, w.Prefix = n.addr, netip.Prefix{}
			n.mu.Lock()
			n.cfg, n.nc = cfg, w
			n.mu.Unlock()
			if w.BFD != before[key].BFD {
				n.watch()
			}
		}
	}
	return gone, changed, err
}

// needsReset reports whether going from n to w changes the OPEN or the socket.
func (n Neighbor) needsReset(w Neighbor) bool {
	n.Description, n.ConnectRetry, n.Passive, n.Port = w.Description, w.ConnectRetry, w.Passive, w.Port
	n.MaxPrefixes, n.BFD = w.MaxPrefixes, w.BFD
	return n != w
}

// switchTransit changes between leaf and transit mode. Going to transit, GoBGP lacks all
// routes: they are asked for again.
func (s *Speaker) switchTransit(transit bool) {
	if s.transit.Swap(transit) == transit || !transit {
		return
	}
	for _, n := range s.list() {
		if ses := n.session(); ses != nil && ses.established.Load() {
			n.askAgain(ses, "routes are passed on from now on")
		}
	}
}
