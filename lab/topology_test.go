package lab_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/lab"
)

func parse(t *testing.T, text string) (*lab.Topology, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "a.toml"), []byte("x"), 0o600))
	return lab.Parse(filepath.Join(dir, "t.clab.yml"), []byte(text))
}

func TestParseMergesBlocksAsContainerlabDoes(t *testing.T) {
	t.Parallel()
	top, err := parse(t, `
name: merge
topology:
  defaults:
    kind: linux
    image: alpine:3
    env: {A: defaults, B: defaults}
    exec: ["true"]
  kinds:
    linux:
      env: {B: kind, C: kind}
      exec: ["ip link set lo up"]
  groups:
    vteps:
      image: registry.example:5000/x/vtepbgp:1.2
      env: {C: group}
  nodes:
    v:
      group: vteps
      hostname: vtep-one
      cmd: run -c "/etc/my file.toml"
      sysctls: {net.ipv4.ip_forward: 1}
      binds: ["a.toml:/etc/vtepbgp/vtepbgp.toml:ro", "/dev/null:/var/run/x"]
      exec: ["sh -c 'echo \"$HOME\" a\\ b'"]
    h:
  links:
    - endpoints: ["v:eth1", "h:eth1"]
    - endpoints: [h:eth2, v:eth2]
      mtu: 1500
`)
	require.NoError(t, err)
	assert.Equal(t, "merge", top.Name)
	assert.Equal(t, "clab-merge-v", top.LongName("v"))
	v, h := top.Node("v"), top.Node("h")
	require.NotNil(t, v)
	require.NotNil(t, h)
	dir := filepath.Dir(top.File)
	assert.Equal(t, lab.Node{
		Name: "v", Hostname: "vtep-one", Image: "registry.example:5000/x/vtepbgp:1.2", Role: lab.RoleVTEPBGP,
		Cmd:     []string{"run", "-c", "/etc/my file.toml"},
		Env:     map[string]string{"A": "defaults", "B": "kind", "C": "group"},
		Sysctls: map[string]string{"net.ipv4.ip_forward": "1"},
		Exec:    [][]string{{"true"}, {"ip", "link", "set", "lo", "up"}, {"sh", "-c", `echo "$HOME" a\ b`}},
		Binds: []lab.Bind{
			{Host: filepath.Join(dir, "a.toml"), Node: "/etc/vtepbgp/vtepbgp.toml", ReadOnly: true},
			{Host: "/dev/null", Node: "/var/run/x"},
		},
		Line: 18,
	}, *v)
	assert.Equal(t, lab.RoleHost, h.Role)
	assert.Equal(t, "alpine:3", h.Image)
	assert.Equal(t, []lab.Link{
		{A: lab.Endpoint{Node: "v", Interface: "eth1"}, B: lab.Endpoint{Node: "h", Interface: "eth1"}, MTU: lab.DefaultMTU, Line: 27},
		{A: lab.Endpoint{Node: "h", Interface: "eth2"}, B: lab.Endpoint{Node: "v", Interface: "eth2"}, MTU: 1500, Line: 28},
	}, top.Links)
}

func TestImageNameDecidesTheRole(t *testing.T) {
	t.Parallel()
	for image, want := range map[string]lab.Role{
		"vtepbgp":                           lab.RoleVTEPBGP,
		"vtepbgp:latest":                    lab.RoleVTEPBGP,
		"ghcr.io/vtepbgp/vtepbgp@sha256:00": lab.RoleVTEPBGP,
		"host:5000/vtepbgp:1":               lab.RoleVTEPBGP,
		"quay.io/frrouting/frr:8.4.2":       lab.RoleFRR,
		"my-frr":                            lab.RoleFRR,
		"ghcr.io/vtepbgp/tools:latest":      lab.RoleHost,
		"frrouting/alpine":                  lab.RoleHost,
		"alpine":                            lab.RoleHost,
	} {
		top, err := parse(t, "name: x\ntopology:\n  nodes:\n    a: {kind: linux, image: '"+image+"'}\n")
		require.NoError(t, err, image)
		assert.Equal(t, want, top.Nodes[0].Role, image)
	}
}

func TestPrefixMakesLongNames(t *testing.T) {
	t.Parallel()
	for prefix, want := range map[string]string{
		"prefix: ''\n": "a", "prefix: __lab-name\n": "x-a", "prefix: p\n": "p-x-a", "": "clab-x-a",
	} {
		top, err := parse(t, prefix+"name: x\ntopology: {nodes: {a: {kind: linux, image: alpine}}}\n")
		require.NoError(t, err)
		assert.Equal(t, want, top.LongName("a"))
	}
}

// Every problem names line, key, and what would be right.
func TestProblems(t *testing.T) {
	t.Parallel()
	node := func(keys string) string {
		return "name: x\ntopology:\n  nodes:\n    a:\n      kind: linux\n      image: alpine\n" + keys +
			"    b: {kind: linux, image: alpine}\n"
	}
	for name, c := range map[string]struct {
		text string
		want []string // "line: key: part of the text"
	}{
		"empty":            {"", []string{"1: : the file is empty"}},
		"not yaml":         {"name: [\n", []string{"1: : not YAML"}},
		"tab":              {"name: x\n\ttopology:\n", []string{"2: : not YAML"}},
		"no name":          {"topology: {nodes: {a: {kind: linux, image: i}}}\n", []string{"1: name: missing"}},
		"bad name":         {"name: ../x\ntopology: {nodes: {a: {kind: linux, image: i}}}\n", []string{"1: name: \"../x\" is no lab name"}},
		"no topology":      {"name: x\n", []string{"1: topology: missing"}},
		"no nodes":         {"name: x\ntopology:\n  links: []\n", []string{"3: topology.nodes: missing"}},
		"management":       {"name: x\nmgmt: {network: n}\ntopology: {nodes: {a: {kind: linux, image: i}}}\n", []string{"2: mgmt: not supported by vtepbgp lab (supported here: name, prefix, topology)"}},
		"unknown key":      {node("      startup-config: f\n"), []string{"7: topology.nodes.a.startup-config: not supported by vtepbgp lab (supported here: binds, "}},
		"kind":             {"name: x\ntopology:\n  nodes:\n    br:\n      kind: bridge\n      image: i\n", []string{`5: topology.nodes.br.kind: "bridge" is not supported by vtepbgp lab (supported: linux;`}},
		"no kind":          {"name: x\ntopology:\n  nodes:\n    a: {image: i}\n", []string{"4: topology.nodes.a.kind: missing"}},
		"no image":         {"name: x\ntopology:\n  nodes:\n    a: {kind: linux}\n", []string{"4: topology.nodes.a.image: missing"}},
		"node name":        {"name: x\ntopology:\n  nodes:\n    a/b: {kind: linux, image: i}\n", []string{`4: topology.nodes.a/b: "a/b" is no node name`}},
		"network mode":     {node("      network-mode: host\n"), []string{`7: topology.nodes.a.network-mode: "host" is not supported by vtepbgp lab (supported: none;`}},
		"frr cmd":          {"name: x\ntopology:\n  nodes:\n    a: {kind: linux, image: frr, cmd: bgpd}\n", []string{"4: topology.nodes.a.cmd: not supported with an FRR image"}},
		"list":             {node("      exec: ip link\n"), []string{`7: topology.nodes.a.exec: expected a list, found "ip link"`}},
		"map":              {node("      env: [A=b]\n"), []string{"7: topology.nodes.a.env: expected a map, found a list"}},
		"quote":            {node("      exec: [\"sh -c 'x\"]\n"), []string{`7: topology.nodes.a.exec[0]: cannot split "sh -c 'x" into words: a quote is not closed`}},
		"empty exec":       {node("      exec: [' ']\n"), []string{"7: topology.nodes.a.exec[0]: empty command"}},
		"bind missing":     {node("      binds: [nothere:/etc/x]\n"), []string{"7: topology.nodes.a.binds[0]: "}},
		"bind form":        {node("      binds: [a.toml]\n"), []string{`7: topology.nodes.a.binds[0]: "a.toml" is no bind`}},
		"bind relative":    {node("      binds: ['a.toml:etc']\n"), []string{`7: topology.nodes.a.binds[0]: "a.toml:etc" is no bind`}},
		"bind root":        {node("      binds: ['a.toml:/']\n"), []string{`7: topology.nodes.a.binds[0]: "a.toml:/" is no bind`}},
		"bind option":      {node("      binds: ['a.toml:/x:z']\n"), []string{`7: topology.nodes.a.binds[0]: option "z" is not supported by vtepbgp lab (supported: ro, rw)`}},
		"twice":            {node("      image: alpine\n"), []string{"7: topology.nodes.a.image: defined twice, first on line 6"}},
		"merge key":        {node("      <<: {env: {A: b}}\n"), []string{"7: topology.nodes.a.<<: merge keys are not supported"}},
		"link one end":     {node("") + "  links:\n    - endpoints: ['a:eth1']\n", []string{"9: topology.links[0].endpoints: expected two"}},
		"link no node":     {node("") + "  links:\n    - endpoints: ['a:eth1', 'c:eth1']\n", []string{`9: topology.links[0].endpoints[1]: there is no node "c"`}},
		"link host":        {node("") + "  links:\n    - endpoints: ['a:eth1', 'host:x']\n", []string{"9: topology.links[0].endpoints[1]: links of type host are not supported"}},
		"link eth0":        {node("") + "  links:\n    - endpoints: ['a:eth0', 'b:eth1']\n", []string{"9: topology.links[0].endpoints[0]: eth0 is taken"}},
		"link form":        {node("") + "  links:\n    - endpoints: [a, 'b:eth1']\n", []string{`9: topology.links[0].endpoints[0]: "a" is no endpoint`}},
		"link long name":   {node("") + "  links:\n    - endpoints: ['a:ethernet12345678', 'b:eth1']\n", []string{"9: topology.links[0].endpoints[0]: \"ethernet12345678\" is no interface name"}},
		"link reuse":       {node("") + "  links:\n    - endpoints: ['a:eth1', 'b:eth1']\n    - endpoints: ['b:eth1', 'a:eth2']\n", []string{"10: topology.links[1].endpoints[0]: b:eth1 is already used on line 9"}},
		"link key":         {node("") + "  links:\n    - type: veth\n      endpoints: ['a:eth1', 'b:eth1']\n", []string{"9: topology.links[0].type: not supported by vtepbgp lab (supported here: endpoints, mtu)"}},
		"link long form":   {node("") + "  links:\n    - endpoints: [{node: a, interface: eth1}, 'b:eth1']\n", []string{"9: topology.links[0].endpoints[0]: the long form of links is not supported"}},
		"link mtu":         {node("") + "  links:\n    - endpoints: ['a:eth1', 'b:eth1']\n      mtu: big\n", []string{`10: topology.links[0].mtu: "big" is no MTU`}},
		"all are reported": {"name: x\nfoo: 1\ntopology:\n  bar: 2\n  nodes:\n    a: {kind: ceos, image: i, baz: 3}\n", []string{"2: foo: ", "4: topology.bar: ", "6: topology.nodes.a.baz: ", "6: topology.nodes.a.kind: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := parse(t, c.text)
			require.Error(t, err)
			var got []string
			for _, line := range strings.Split(err.Error(), "\n") {
				_, after, ok := strings.Cut(line, "t.clab.yml:")
				require.True(t, ok, "no file name in %q", line)
				got = append(got, after)
			}
			require.Len(t, got, len(c.want), "%v", err)
			for _, want := range c.want {
				parts := strings.SplitN(want, ": ", 3)
				prefix := parts[0] + ": "
				if parts[1] != "" {
					prefix += parts[1] + ": "
				}
				found := false
				for _, g := range got {
					found = found || strings.HasPrefix(g, prefix) && strings.Contains(g, parts[2])
				}
				assert.True(t, found, "want %q among %q", want, got)
			}
		})
	}
}

func TestLoadMissingFile(t *testing.T) {
	t.Parallel()
	_, err := lab.Load("nothere.clab.yml")
	require.ErrorIs(t, err, fs.ErrNotExist)
	assert.Contains(t, err.Error(), "read topology: ")
}

func TestNameOfReadsBrokenTopologies(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "x.clab.yml")
	require.NoError(t, os.WriteFile(file, []byte("name: broken\ntopology: {nodes: {a: {kind: nonsense}}}\n"), 0o600))
	name, err := lab.NameOf(file)
	require.NoError(t, err)
	assert.Equal(t, "broken", name)
	require.NoError(t, os.WriteFile(file, []byte("name: ../../etc\n"), 0o600))
	_, err = lab.NameOf(file)
	assert.ErrorContains(t, err, `"../../etc" is no lab name`)
}

func TestOpenOfNothing(t *testing.T) {
	t.Parallel()
	_, err := lab.Open("nothere", t.TempDir())
	require.ErrorIs(t, err, lab.ErrNotRunning)
	_, err = lab.Open("../x", t.TempDir())
	assert.ErrorContains(t, err, "is no lab name")
}

func FuzzParse(f *testing.F) {
	for _, file := range topologies(f) {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Add("name: x\ntopology: &a\n  nodes: {b: *a}\n")
	f.Fuzz(func(t *testing.T, text string) {
		top, err := lab.Parse("/nothere/f.clab.yml", []byte(text))
		if err != nil {
			assert.Nil(t, top)
			return
		}
		for _, n := range top.Nodes {
			assert.NotEmpty(t, n.Image)
			assert.NotContains(t, top.LongName(n.Name), "/")
		}
	})
}
