package kernel_test

import (
	"context"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/kernel"
	"github.com/vtepbgp/vtepbgp/kernel/kerneltest"
)

var remoteMAC = evpn.Row{
	RowKey:   evpn.RowKey{Kind: evpn.MACRow, VNI: 100, MAC: evpn.MAC{2, 0xb}},
	RowValue: evpn.RowValue{VTEP: netip.MustParseAddr("10.0.0.2")},
}

func fakeHost() *kerneltest.Fake {
	f := kerneltest.NewFake()
	f.AddDevice("eth0", 1600)
	f.AddDevice("p1", 1500)
	f.SetAddress("eth0", netip.MustParseAddr("10.0.0.1"), true)
	return f
}

func config() kernel.Config {
	return kernel.Config{VTEP: netip.MustParseAddr("10.0.0.1"), VNIs: []kernel.VNI{{VNI: 100, Manage: true, Ports: []string{"p1"}}}}
}

func run(t *testing.T, b kernel.Backend, sink func(evpn.Event)) *kernel.Kernel {
	log := logrus.New()
	log.SetOutput(io.Discard)
	k := kernel.New(b, logrus.NewEntry(log))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx, sink) }()
	t.Cleanup(func() { cancel(); assert.NoError(t, <-done) })
	require.NoError(t, k.Configure(config()))
	return k
}

func eventually(t *testing.T, ok func() bool, what string) {
	t.Helper()
	require.Eventually(t, ok, 30*time.Second, time.Millisecond, what)
}

func TestRefusedRowIsShownAndRetried(t *testing.T) {
	f := fakeHost()
	k := run(t, f, func(evpn.Event) {})
	<-k.Synced()
	f.FailOp(1, unix.ENOMEM)
	k.Apply([]evpn.RowChange{{Row: remoteMAC}})
	eventually(t, func() bool { return k.Stats().Writes["set"].Failed == 1 }, "refusal is counted")
	if k.Stats().Failing == 1 { // until the retry
		assert.Equal(t, []string{"the kernel refuses 1 rows: write MAC 02:0b:00:00:00:00 of VNI 100: cannot allocate memory"}, k.Status()[0].Problems)
	}
	eventually(t, func() bool { return k.Installed(remoteMAC.RowKey) && k.Stats().Failing == 0 }, "row is written in the end")
	assert.Empty(t, k.Status()[0].Problems)
}

// When the answer to a batch is lost, a full read tells what was done.
func TestLostAnswerLeadsToRead(t *testing.T) {
	f := fakeHost()
	b := &mute{Fake: f}
	k := run(t, b, func(evpn.Event) {})
	<-k.Synced()
	b.once.Store(true)
	other := remoteMAC
	other.RowKey.MAC = evpn.MAC{2, 0xc}
	k.Apply([]evpn.RowChange{{Row: remoteMAC}, {Row: other}})
	eventually(t, func() bool { return k.Stats().Resyncs["write"] == 1 }, "everything is read")
	eventually(t, func() bool {
		s := k.Stats()
		return s.Failing == 0 && s.Pending == 0 && k.Installed(remoteMAC.RowKey) && k.Installed(other.RowKey)
	}, "no row stays behind, and none is shown as failing")
	assert.Empty(t, k.Status()[0].Problems)
}

// mute does one batch and does not say so.
type mute struct {
	*kerneltest.Fake
	once atomic.Bool
}

func (m *mute) Write(ops []kernel.NeighborOp, failed func(int, error)) error {
	err := m.Fake.Write(ops, failed)
	if m.once.CompareAndSwap(true, false) {
		return unix.ENOBUFS
	}
	return err
}

func TestClosedSubscriptionIsReopened(t *testing.T) {
	f := fakeHost()
	k := run(t, f, func(evpn.Event) {})
	<-k.Synced()
	k.Apply([]evpn.RowChange{{Row: remoteMAC}})
	eventually(t, func() bool { return k.Installed(remoteMAC.RowKey) }, "row is there")
	f.CloseSubscriptions()
	links, err := f.Links()
	require.NoError(t, err)
	var device int32
	for _, l := range links {
		if l.Kind == "vxlan" {
			device = l.Index
		}
	}
	// Nobody listens while this row goes.
	require.NoError(t, f.Write([]kernel.NeighborOp{{Verb: kernel.Delete, Neighbor: kernel.Neighbor{
		Family: unix.AF_BRIDGE, Index: device, MAC: remoteMAC.RowKey.MAC, Flags: unix.NTF_MASTER | unix.NTF_SELF}}},
		func(_ int, err error) { require.NoError(t, err) }))
	eventually(t, func() bool { return k.Stats().Resyncs["closed"] == 1 }, "everything is read again")
	eventually(t, func() bool { return len(f.FDB()) == 4 && k.Installed(remoteMAC.RowKey) }, "row is back")
	s := k.Stats()
	assert.EqualValues(t, 1, s.ResyncChanges)
	assert.EqualValues(t, 1, s.Repairs)
}

// A sink that does not take events stops neither the reading nor the writing.
func TestSlowSinkDoesNotStopWrites(t *testing.T) {
	f := fakeHost()
	var gate sync.Mutex
	var mu sync.Mutex
	last := map[evpn.MAC]evpn.Event{}
	gate.Lock()
	k := run(t, f, func(ev evpn.Event) {
		gate.Lock()
		defer gate.Unlock()
		mu.Lock()
		defer mu.Unlock()
		switch ev := ev.(type) {
		case evpn.LocalMACLearned:
			last[ev.MAC] = ev
		case evpn.LocalMACGone:
			last[ev.MAC] = ev
		}
	})
	eventually(t, func() bool { st := k.Status(); return len(st) == 1 && st[0].Up }, "up")
	f.Frame("p1", evpn.MAC{2, 1})
	f.Frame("p1", evpn.MAC{2, 2})
	f.Age("p1", evpn.MAC{2, 2})
	k.Apply([]evpn.RowChange{{Row: remoteMAC}})
	eventually(t, func() bool { return k.Installed(remoteMAC.RowKey) }, "row is written")
	gate.Unlock()
	want := evpn.LocalMACLearned{VNI: 100, MAC: evpn.MAC{2, 1}, Port: "p1"}
	eventually(t, func() bool { mu.Lock(); defer mu.Unlock(); return last[want.MAC] == want }, "events come through")
	<-k.Synced()
	mu.Lock()
	defer mu.Unlock()
	assert.NotContains(t, last, evpn.MAC{2, 2}, "what came and went is no news")
}

// A host speaks up right after the core gave its MAC to a VTEP: that it was local all the time, when looked at
// twice, is news to a core that decided otherwise between.
func TestHostThatClaimsItsMACBack(t *testing.T) {
	f := fakeHost()
	mac, other := remoteMAC.RowKey.MAC, evpn.MAC{2, 1}
	busy, gate := make(chan struct{}), make(chan struct{})
	var told atomic.Int64
	k := run(t, f, func(ev evpn.Event) {
		switch ev {
		case evpn.LocalMACLearned{VNI: 100, MAC: mac, Port: "p1"}:
			told.Add(1)
		case evpn.LocalMACLearned{VNI: 100, MAC: other, Port: "p1"}:
			close(busy)
			<-gate
		}
	})
	<-k.Synced()
	eventually(t, func() bool { f.Frame("p1", mac); return told.Load() == 1 }, "it is local")

	f.Frame("p1", other) // telling of this one takes a while
	<-busy
	k.Apply([]evpn.RowChange{{Row: remoteMAC}})
	eventually(t, func() bool { return k.Installed(remoteMAC.RowKey) }, "it is remote")
	f.Frame("p1", mac)
	eventually(t, func() bool { return !k.Installed(remoteMAC.RowKey) }, "it is local again")
	close(gate)
	eventually(t, func() bool { return told.Load() == 2 }, "the core hears of it")
}

// Somebody who undoes our row again and again does not make us spin.
func TestFightIsDamped(t *testing.T) {
	f := fakeHost()
	b := &contested{Fake: f}
	k := run(t, b, func(evpn.Event) {})
	<-k.Synced()
	k.Apply([]evpn.RowChange{{Row: remoteMAC}})
	eventually(t, func() bool { return k.Stats().Failing == 1 }, "the fight is shown")
	assert.Contains(t, k.Status()[0].Problems[0], "somebody else keeps changing the row")
	assert.Less(t, f.Writes(), 200)
}

// contested is a kernel in which another program deletes each row at once.
type contested struct{ *kerneltest.Fake }

func (c *contested) Write(ops []kernel.NeighborOp, failed func(int, error)) error {
	if err := c.Fake.Write(ops, failed); err != nil {
		return err
	}
	for _, op := range ops {
		op.Verb, op.State = kernel.Delete, 0
		if err := c.Fake.Write([]kernel.NeighborOp{op}, func(int, error) {}); err != nil {
			return err
		}
	}
	return nil
}

func TestConfigureRefusesContradictions(t *testing.T) {
	k := kernel.New(fakeHost(), logrus.NewEntry(logrus.New()))
	err := k.Configure(kernel.Config{VNIs: []kernel.VNI{{VNI: 100}, {VNI: 100, Device: "a", Bridge: "b"}, {VNI: 101, Bridge: "br100"}, {}}})
	require.Error(t, err)
	assert.Equal(t, "configure VNI 100: not valid, or given twice\n"+
		"configure VNI 101: link br100 already serves VNI 100\n"+
		"configure VNI 0: not valid, or given twice", err.Error())
	assert.Empty(t, k.Status())
}
