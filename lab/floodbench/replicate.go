package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"

	cilium "github.com/cilium/ebpf"
	"github.com/sirupsen/logrus"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/ebpf"
	"github.com/vtepbgp/vtepbgp/flood/socket"
)

// copier is a method that runs in a process of its own.
type copier interface {
	list(r request) error
	dropped() map[string]uint64
	close() error
}

// replicate is the replicator's process: it answers requests until nobody asks any more.
func replicate() (err error) {
	method, profile := os.Args[1], os.Args[2]
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return fmt.Errorf("create profile: %w", err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return fmt.Errorf("begin profile: %w", err)
		}
		defer pprof.StopCPUProfile()
	}
	before := newestMap()
	c, name, err := open(method)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	in, out := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		var r request
		if err = errors.Join(err, json.Unmarshal(line, &r)); err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		a := answer{Engine: name}
		began := time.Now()
		if err := c.list(r); err != nil {
			a.Error = err.Error()
		}
		a.Took = time.Since(began)
		a.Dropped = c.dropped()
		if r.Measure {
			if a.Memory, a.Maps, err = memory(before); err != nil {
				a.Error = err.Error()
			}
		}
		if err := out.Encode(a); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

func open(method string) (copier, string, error) {
	if method == plainLoop {
		c, err := newLoop()
		return c, method, err
	}
	log := logrus.New()
	log.SetOutput(os.Stderr)
	log.SetLevel(logrus.WarnLevel)
	options := flood.Options{Interface: "r0", Log: logrus.NewEntry(log)}
	e, choice, err := flood.Choose(method, []flood.Kind{ebpf.Kind(), socket.Kind()}, options)
	if err != nil {
		return nil, "", err
	}
	if err := e.Start(); err != nil {
		return nil, "", errors.Join(err, e.Close())
	}
	return copying{e}, fmt.Sprintf("%s: %s", choice.Name, choice.Reason), nil
}

// copying is an engine of package flood.
type copying struct{ flood.Engine }

func (e copying) list(r request) error {
	t := &flood.Table{Own: []netip.Addr{entry, exit, service}}
	for i := range max(1, r.Networks) {
		n := flood.Network{VNI: evpn.VNI(benchVNI + i), Listen: service, Port: vxlanPort}
		for place := 1; place <= r.VTEPs; place++ {
			if place != r.Without || i >= r.Of {
				n.VTEPs = append(n.VTEPs, flood.VTEP{Address: vtepAt(place)})
			}
		}
		t.Networks = append(t.Networks, n)
	}
	return e.Apply(t)
}

func (e copying) dropped() map[string]uint64 {
	all := map[string]uint64{}
	for r, n := range e.Counters().Total.Dropped {
		all[r.String()] = n
	}
	return all
}

func (e copying) close() error { return e.Close() }

// memory is what this process has resident after a collection, and what its maps are
// accounted for, those made after one.
func memory(after cilium.MapID) (resident, maps int64, err error) {
	runtime.GC()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0, fmt.Errorf("read own memory: %w", err)
	}
	resident = field(string(text), "VmRSS:") * 1024
	for id := after; ; {
		next, err := cilium.MapGetNextID(id)
		if errors.Is(err, os.ErrNotExist) {
			return resident, maps, nil
		}
		if err != nil {
			return 0, 0, fmt.Errorf("list maps: %w", err)
		}
		id = next
		m, err := cilium.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has gone meanwhile
		}
		if err != nil {
			return 0, 0, fmt.Errorf("open map %d: %w", id, err)
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", m.FD()))
		_ = m.Close()
		if err != nil {
			return 0, 0, fmt.Errorf("read memory of map %d: %w", id, err)
		}
		maps += field(string(text), "memlock:")
	}
}

func newestMap() (id cilium.MapID) {
	for {
		next, err := cilium.MapGetNextID(id)
		if err != nil {
			return id
		}
		id = next
	}
}

func field(text, name string) int64 {
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			n, _ := strconv.ParseInt(words[1], 10, 64)
			return n
		}
	}
	return 0
}
