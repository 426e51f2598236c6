package ebpf

import (
	"errors"

	"github.com/cilium/ebpf"

	"github.com/vtepbgp/vtepbgp/flood"
)

// ByClsact is the engine as kernels without tcx have it.
func ByClsact() flood.Kind {
	k := Kind()
	k.Name += " by clsact"
	k.Open = func(o flood.Options) (flood.Engine, error) { return open(o, withoutTCX) }
	return k
}

func withoutTCX(*ebpf.Program) error { return errors.New("the test wants clsact") }
