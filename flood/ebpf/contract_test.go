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

func TestContract(t *testing.T) { contract(t, ebpf.Kind()) }

func TestContractByClsact(t *testing.T) { contract(t, ebpf.ByClsact()) }

func contract(t *testing.T, kind flood.Kind) {
	floodtest.Run(t, func(t testing.TB, o flood.Options) flood.Engine {
		require.NoError(t, kind.Probe(o))
		e, err := kind.Open(o)
		require.NoError(t, err)
		return e
	})
}

func TestLeft(t *testing.T) { floodtest.RunLeft(t, ebpf.Kind()) }

func TestLeftByClsact(t *testing.T) { floodtest.RunLeft(t, ebpf.ByClsact()) }

func TestMain(m *testing.M) {
	if floodtest.Serves() {
		if err := floodtest.Serve(ebpf.Kind(), ebpf.ByClsact()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}
