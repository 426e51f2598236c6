package socket_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/floodtest"
	"github.com/vtepbgp/vtepbgp/flood/socket"
)

func TestContract(t *testing.T) {
	floodtest.Run(t, func(t testing.TB, o flood.Options) flood.Engine {
		e, err := socket.Open(o)
		require.NoError(t, err)
		return e
	})
}

func BenchmarkEngine(b *testing.B) {
	floodtest.Benchmark(b, func(t testing.TB, o flood.Options) flood.Engine {
		e, err := socket.Open(o)
		require.NoError(t, err)
		return e
	})
}
