package ebpf

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
)

// Leases may be shorter than a table takes.
func TestLeasesAreReplacedWhileATableIsPutInPlace(t *testing.T) {
	e := newWire(t).open(t, probeTCX)
	defer func() { require.NoError(t, e.Close()) }()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.NoError(t, e.Renew(flood.Lease{For: time.Hour}))
	require.NoError(t, e.Keep(flood.Lease{For: time.Hour}))
}

// What was handed over does not wait for a table.
func TestHandoverWhileATableIsPutInPlace(t *testing.T) {
	e := newWire(t).open(t, probeTCX)
	defer func() { require.NoError(t, e.Close()) }()
	require.NoError(t, e.Apply(&flood.Table{Networks: []flood.Network{{VNI: 100, Listen: service4, VTEPs: vteps(far4, 2)}}}))
	frame := packet(service4, leaf4, 64).Bytes()
	sample := make([]byte, sizeHandover, sizeHandover+len(frame))
	binary.NativeEndian.PutUint32(sample, uint32(len(frame)))
	binary.NativeEndian.PutUint32(sample[4:], 1) // the generation of the only list
	e.mu.Lock()
	defer e.mu.Unlock()
	taken := make(chan struct{})
	go func() {
		newFinisher(e).take(0, append(sample, frame...))
		close(taken)
	}()
	select {
	case <-taken:
	case <-time.After(within):
		t.Error("it waits")
	}
}
