package speaker

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGoBGPTellsWhenADeletedNeighbourHasEnded(t *testing.T) {
	log, logged := logtest.NewNullLogger()
	cfg := Config{ASN: 65000, RouterID: netip.MustParseAddr("10.0.0.1"), HoldTime: 90 * time.Second}
	e, err := startEmbedded(cfg, logrus.NewEntry(log), func(err error) { t.Error(err) })
	require.NoError(t, err)

	open, idle, wrong := innerAddr(0, 0), innerAddr(1, 0), netip.Addr{}
	require.Error(t, e.addPeer(wrong, wrong, cfg, Neighbor{ASN: 65000}))
	for _, a := range []netip.Addr{open, idle} {
		require.NoError(t, e.addPeer(a, a, cfg, Neighbor{ASN: 65000}))
	}
	conn, _, _, err := e.dial(context.Background(), open)
	require.NoError(t, err)
	defer conn.Close()
	require.Equal(t, 2, e.peers.awaitNone(time.Millisecond))

	require.NoError(t, e.deletePeer(open))
	require.NoError(t, e.deletePeer(idle))
	require.Zero(t, e.peers.awaitNone(time.Minute))

	e.stop(logrus.NewEntry(log))
	assert.Empty(t, logged.AllEntries())
}

func TestStopDoesNotWaitForeverForNeighbours(t *testing.T) {
	p := &peersAlive{change: make(chan struct{})}
	p.add(2)
	p.add(-1)
	assert.Equal(t, 1, p.awaitNone(time.Millisecond))
	var got atomic.Int64
	done := make(chan struct{})
	go func() { defer close(done); got.Store(int64(p.awaitNone(time.Minute))) }()
	p.add(-1)
	<-done
	assert.Zero(t, got.Load())
}
