package ebpf_test

import (
	"fmt"
	"os"
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

func TestLeft(t *testing.T) { floodtest.RunLeft(t, ebpf.Kind()) }

func TestMain(m *testing.M) {
	if floodtest.Serves() {
		if err := floodtest.Serve(ebpf.Kind()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
