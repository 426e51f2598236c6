package kernel

import (
	"context"
	"errors"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// accessPort is a port of a bridge, without the VXLAN device.
type accessPort struct {
	name string
	in   *instance
}

// listen hears the access ports until ctx ends. Without the permission for packet
// sockets everything else goes on; local IPs then come from the kernel alone.
func (k *Kernel) listen(ctx context.Context) {
	wire, err := k.b.OpenWire()
	if err != nil {
		k.log.WithError(err).Warn("listening to ARP and ND failed; local IP addresses come from the kernel's neighbours alone")
		return
	}
	k.mu.Lock()
	k.wire = wire
	k.wantLinks(0) // they say which ports to listen to
	k.mu.Unlock()
	signal(k.wake)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		return wire.Close()
	})
	g.Go(func() error {
		for {
			if err := wire.Receive(k.heard); err != nil {
				return err
			}
		}
	})
	if err := g.Wait(); err != nil && !errors.Is(err, os.ErrClosed) {
		k.log.WithError(err).Warn("listening to ARP and ND ended")
	}
}

// followPorts listens to the ports that there are now. deviceMu is held.
func (k *Kernel) followPorts() {
	k.mu.Lock()
	wire := k.wire
	var links []int32
	for index, p := range k.ports {
		if p.in.cfg.Suppression {
			links = append(links, index)
		}
	}
	k.mu.Unlock()
	if wire == nil {
		return
	}
	slices.Sort(links)
	if err := wire.Follow(links); err != nil && !errors.Is(err, os.ErrClosed) {
		k.log.WithError(err).Warn("listening to a port failed")
		k.mu.Lock()
		k.retryLinks()
		k.mu.Unlock()
	}
}

// heard takes one frame of an access port.
func (k *Kernel) heard(link int32, frame []byte) {
	p, reason := snoop.Parse(frame)
	k.mu.Lock()
	defer k.mu.Unlock()
	if port, known := k.ports[link]; known && reason == "" {
		k.stats.Heard[p.Kind.String()]++
		k.consider(snoop.Observation{VNI: port.in.vni, Link: link, Packet: p, Frame: frame})
	}
}

// consider learns from a packet. mu is held; frames that follow from it are sent by
// wire.Send, which does not wait for anything that needs mu.
func (k *Kernel) consider(snoop.Observation) {}
