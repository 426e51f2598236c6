package ebpf

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/require"
)

func TestVerifier(t *testing.T) {
	var o programObjects
	at := time.Now()
	err := loadProgramObjects(&o, &ebpf.CollectionOptions{Programs: ebpf.ProgramOptions{LogLevel: ebpf.LogLevelStats}})
	var ve *ebpf.VerifierError
	if errors.As(err, &ve) {
		n := len(ve.Log)
		for _, l := range ve.Log[max(0, n-60):] {
			t.Log(l)
		}
	}
	if err != nil {
		s := fmt.Sprintf("%+v", err)
		t.Log(s[max(0, len(s)-6000):])
	}
	require.NoError(t, err)
	t.Log(time.Since(at))
	t.Log(o.FloodIngress.VerifierLog)
	i, _ := o.FloodIngress.Info()
	n, _ := i.VerifiedInstructions()
	t.Log("verified", n)
	o.Close()
}
