// Package lab runs containerlab topologies without a container engine.
//
// It owns: reading `*.clab.yml` files ([Load]), bringing their nodes up as Linux
// namespaces ([Topology.Up]), finding a running lab again from another process
// ([Open]), commands inside its nodes ([Lab.Exec]) and the tear-down ([Lab.Down]).
//
// A node is a process id, network, mount, host name and IPC namespace of its own. Its
// file system is an overlay above the machine's root with the upper layer in memory:
// a node has all of the machine's tools, may write where it likes, and leaves
// nothing behind. /run, /tmp, /etc/vtepbgp, /etc/frr and the like start empty; the
// node's `binds` come on top. The first process of a node is a holder that does
// nothing but reap; when it is killed the kernel ends everything else in the node.
//
// The order is containerlab's: the process of a node starts first, then links
// appear in it, then its exec lines run. Daemons in a lab must therefore cope with
// interfaces and addresses that come later, as they must in containers.
//
// It refuses to: pull images (the image's name says what a node runs: vtepbgp, FRR
// or a plain Linux host), build a management network, or guess at keys it does not
// support: every such key is an error with file and line.
//
// Concurrency: a [Topology] is read-only after Load. The methods of a [Lab] may be
// called from many goroutines at once, except Down, which must be the last.
//
//	t, err := lab.Load("containerlab/demo.clab.yml")
//	if err != nil { … }
//	l, err := t.Up(ctx, lab.Options{Binary: "bin/vtepbgp", Progress: os.Stderr})
//	if err != nil { … } // nothing is left behind
//	defer l.Down(context.Background())
//	code, err := l.Exec(ctx, "h1", []string{"ping", "-c1", "192.168.100.2"}, lab.Stdio{Out: os.Stdout})
package lab
