package lab_test

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/vtepbgp/vtepbgp/"

// forbidden says what a package (and those below it) must never reach, not even through
// another one, and why.
var forbidden = []struct{ pkg, reach, why string }{
	{"evpn", module, "the core depends on nothing of ours"},
	{"evpn", "net/http", "the core does no I/O"},
	{"evpn/journal", "net/http", "the journal uses the reader or writer that it is given"},
	{"config", "github.com/osrg/gobgp/", "only speaker speaks GoBGP"},
	{"config", "github.com/vishvananda/", "only kernel speaks netlink"},
	{"config", "github.com/spf13/cobra", "configuration knows no command line"},
	{"kernel", "github.com/osrg/gobgp/", "only speaker speaks GoBGP"},
	{"kernel", module + "config", "the daemon translates configuration"},
	{"kernel", module + "speaker", "adapters do not know each other"},
	{"speaker", module + "config", "the daemon translates configuration"},
	{"speaker", module + "kernel", "adapters do not know each other"},
	{"speaker/wire", "github.com/osrg/gobgp/", "the codec is our own"},
	{"flood", module + "kernel", "packets need no intent of the kernel package"},
	{"flood", module + "speaker", "adapters do not know each other"},
	{"flood", module + "config", "the daemon translates configuration"},
	{"flood", "github.com/osrg/gobgp/", "only speaker speaks GoBGP"},
	{"flood", "github.com/vishvananda/", "deciding does no I/O"},
	{"flood/socket", module + "kernel", "an engine works alone"},
	{"flood/socket", module + "speaker", "adapters do not know each other"},
	{"flood/socket", module + "config", "the daemon translates configuration"},
	{"flood/socket", "github.com/osrg/gobgp/", "only speaker speaks GoBGP"},
	{"flood/socket", "github.com/vishvananda/", "the engine that needs nothing but sockets"},
	{"flood/ebpf", module + "kernel", "an engine works alone"},
	{"flood/ebpf", module + "speaker", "adapters do not know each other"},
	{"flood/ebpf", module + "config", "the daemon translates configuration"},
	{"flood/ebpf", "github.com/osrg/gobgp/", "only speaker speaks GoBGP"},
	{"lab", module + "speaker", "the lab runs the binary, not the packages"},
	{"lab", module + "kernel", "the lab runs the binary, not the packages"},
	{"cmd/vtepbgp/internal/flooding", module + "config", "the daemon translates configuration"},
	{"cmd/vtepbgp/internal/flooding", module + "kernel", "the daemon knows whom to ask"},
	{"cmd/vtepbgp/internal/flooding", module + "speaker", "the daemon knows how long a lease is"},
	{"cmd/vtepbgp/internal/api", "github.com/osrg/gobgp/", "the API shows our own types"},
	{"cmd/vtepbgp/internal/api", "github.com/vishvananda/", "the API shows our own types"},
	{"cmd/vtepbgp/internal/daemon", "github.com/spf13/cobra", "the daemon knows no command line"},
}

func TestImportsGoDownwards(t *testing.T) {
	t.Parallel()
	var out, problems bytes.Buffer
	list := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	list.Dir, list.Stdout, list.Stderr = "..", &out, &problems
	require.NoError(t, list.Run(), "%s", problems.String())
	checked := map[string]bool{}
	for dec := json.NewDecoder(&out); dec.More(); {
		var p struct {
			ImportPath string
			Imports    []string
			Deps       []string
		}
		require.NoError(t, dec.Decode(&p))
		for _, i := range p.Imports {
			if strings.HasPrefix(i, "github.com/osrg/gobgp/") {
				assert.Equal(t, module+"speaker", p.ImportPath, "only speaker speaks GoBGP (docs/adr/0004)")
			}
		}
		for _, f := range forbidden {
			if p.ImportPath != module+f.pkg {
				continue
			}
			checked[f.pkg] = true
			for _, dep := range p.Deps {
				if dep == f.reach || (strings.HasSuffix(f.reach, "/") && strings.HasPrefix(dep, f.reach)) {
					assert.Fail(t, "forbidden import", "%s reaches %s: %s", f.pkg, dep, f.why)
				}
			}
		}
	}
	for _, f := range forbidden {
		assert.True(t, checked[f.pkg], "no package %s", f.pkg)
	}
}
