package ebpf_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/ebpf"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
)

func TestContract(t *testing.T) {
	floodtest.Run(t, func(t testing.TB, o flood.Options) flood.Engine {
		require.NoError(t, ebpf.Probe(o))
		e, err := ebpf.Open(o)
		require.NoError(t, err)
		return e
	})
}
