package kernel_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
	"github.com/vtepbgp/vtepbgp/kernel/snoop"
)

// forbidden is a kernel without the permission to listen to packets at all, or for a
// while to those of single ports.
type forbidden struct {
	*kerneltest.Fake
	all   bool
	ports *atomic.Bool
}

func (f forbidden) OpenWire() (snoop.Wire, error) {
	if f.all {
		return nil, unix.EPERM
	}
	w, err := f.Fake.OpenWire()
	return forbiddenWire{w, f.ports}, err
}

type forbiddenWire struct {
	snoop.Wire
	ports *atomic.Bool
}

func (w forbiddenWire) Follow(links []int32) error {
	if w.ports.Load() {
		return unix.EPERM
	}
	return w.Wire.Follow(links)
}

// Ports that cannot be heard are no reason to stop, but one that an operator sees.
func TestDeafPortsAreNotReady(t *testing.T) {
	const missing = "not all access ports can be listened to, so that duplicate addresses stay unnoticed: operation not permitted (it takes CAP_NET_RAW)"
	for _, all := range []bool{true, false} {
		b := forbidden{fakeHost(), all, &atomic.Bool{}}
		b.ports.Store(true)
		k := run(t, b, func(evpn.Event) {})
		cfg := config()
		cfg.VNIs[0].Suppression = true
		require.NoError(t, k.Configure(cfg))
		eventually(t, func() bool { return k.Status()[0].SuppressionState == kernel.SuppressionNotReady }, "not ready")
		assert.Equal(t, []string{missing}, k.Status()[0].SuppressionMissing)
		assert.Equal(t, []string{"ARP and ND suppression is not ready: " + missing}, k.Status()[0].Problems)
		b.ports.Store(false)
		if !all {
			eventually(t, func() bool { return k.Status()[0].SuppressionState == kernel.SuppressionReady }, "it is tried again")
		}
	}
}
