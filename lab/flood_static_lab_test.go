//go:build lab

package lab_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestVTEPsAddedAtRunTime: a VTEP without BGP gets copies as soon as it is added, over reload and crash, until it is
// deleted; what cannot be is refused with what to do.
func TestVTEPsAddedAtRunTime(t *testing.T) {
	t.Parallel()
	f := newFabric(t, kindVTEPBGP, kindVTEPBGP, kindVTEPBGP)
	eventually(t, convergence, "flood row of vb on va", f.wantFDB("va", zeroMAC, floodRows("10.0.0.2")))
	both := f.wantFDB("va", zeroMAC, floodRows("10.0.0.2", "10.0.0.77"))
	f.do("va", "vtepbgp", "vtep", "add", "10.0.0.77", "--vni", "100")
	eventually(t, convergence, "row of the added one", both)
	f.do("va", "vtepbgp", "reload")
	holds(t, time.Second, "after a reload", both)
	require.NoError(t, f.Signal("va", unix.SIGKILL))
	eventually(t, convergence, "start after a crash", func() error { return f.Start(t.Context(), "va") })
	f.sessionsUp()
	holds(t, 2*time.Second, "after a crash", both)
	for _, c := range []struct{ args, says string }{
		{"add 10.0.0.77 --vni 100", "it was added before"},
		{"add 10.0.0.1 --vni 100", "is an address of this host"},
		{"add 2001:db8::1 --vni 100", "another address family"},
		{"add 10.0.0.77 --vni 200", "VNI 200 is not configured"},
		{"delete 10.0.0.2 --vni 100", "was not added to VNI 100"},
	} {
		_, err := f.try("va", append([]string{"vtepbgp", "vtep"}, strings.Fields(c.args)...)...)
		require.ErrorContains(t, err, c.says, c.args)
	}
	f.do("va", "vtepbgp", "vtep", "delete", "10.0.0.77", "--vni", "100")
	eventually(t, convergence, "the row is gone", f.wantFDB("va", zeroMAC, floodRows("10.0.0.2")))
}
