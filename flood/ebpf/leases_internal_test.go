package ebpf

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
)

// Leases may be shorter than a table takes.
func TestLeasesAreReplacedWhileATableIsPutInPlace(t *testing.T) {
	e := newLink(t).open(t)
	defer func() { require.NoError(t, e.Close()) }()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.NoError(t, e.Renew(flood.Lease{For: time.Hour}))
	require.NoError(t, e.Keep(flood.Lease{For: time.Hour}))
}
