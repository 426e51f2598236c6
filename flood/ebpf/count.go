package ebpf

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// reasons is how many the program can count.
const reasons = len(programState{}.Dropped)

// folded is how far the count of the program has been added to a tally.
type folded struct {
	state                    uint32
	tally                    *flood.Tally
	packets, relayed, copies uint64
	dropped                  [reasons]uint64
}

// state gives the number of the place where the program counts for a network.
func (l *lists) state(key listKey, tally *flood.Tally) (uint32, error) {
	if f := l.states[key]; f != nil {
		f.tally = tally
		return f.state, nil
	}
	l.nextState++
	if err := l.maps.States.Put(l.nextState, programState{}); err != nil {
		return 0, fmt.Errorf("make room to count for network %d: %w", key.vni, err)
	}
	l.states[key] = &folded{state: l.nextState, tally: tally}
	return l.nextState, nil
}

// forget counts for a network that is gone one last time.
func (l *lists) forget(key listKey) error {
	f := l.states[key]
	delete(l.states, key)
	return errors.Join(l.fold(f), l.maps.States.Delete(f.state))
}

// fold adds what the program has counted since to the tally.
func (l *lists) fold(f *folded) error {
	var s programState
	if err := l.maps.States.Lookup(f.state, &s); err != nil {
		return fmt.Errorf("read a count: %w", err)
	}
	f.tally.Packets.Add(s.Packets - f.packets)
	f.tally.Relayed.Add(s.Relayed - f.relayed)
	f.tally.Copies.Add(s.Copies - f.copies)
	f.packets, f.relayed, f.copies = s.Packets, s.Relayed, s.Copies
	f.drops(s.Dropped[:])
	return nil
}

func (f *folded) drops(now []uint64) {
	for r := range now {
		if n := now[r] - f.dropped[r]; n > 0 {
			f.tally.Drop(flood.Reason(r), n)
		}
		f.dropped[r] = now[r]
	}
}

// foldAll brings all tallies up to date; rest is that of packets of no network.
func (l *lists) foldAll(rest *folded) error {
	var errs []error
	for _, f := range l.states {
		errs = append(errs, l.fold(f))
	}
	var each []programRest
	if err := l.maps.Rests.Lookup(uint32(0), &each); err != nil {
		return errors.Join(append(errs, fmt.Errorf("read a count: %w", err))...)
	}
	var sum programRest
	for i := range each {
		sum.Packets += each[i].Packets
		for r := range sum.Dropped {
			sum.Dropped[r] += each[i].Dropped[r]
		}
	}
	rest.tally.Packets.Add(sum.Packets - rest.packets)
	rest.packets = sum.Packets
	rest.drops(sum.Dropped[:])
	return errors.Join(errs...)
}

// ktime is the clock of the program (bpf_ktime_get_ns).
func ktime() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0, fmt.Errorf("read the clock of the program: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

// heard reads who was heard.
func heard(m *ebpf.Map, within time.Duration) ([]flood.Heard, error) {
	now, err := ktime()
	if err != nil {
		return nil, err
	}
	var all []flood.Heard
	var at uint64
	var k struct {
		VNI      uint32
		VTEP     address
		MAC      evpn.MAC
		Reserved uint16
	}
	each := m.Iterate()
	for each.Next(&k, &at) {
		if age := max(0, now-time.Duration(at)); age <= within {
			all = append(all, flood.Heard{VNI: evpn.VNI(k.VNI), VTEP: k.VTEP.netip(), MAC: k.MAC, Age: age})
		}
	}
	return all, each.Err()
}

// merge joins what was heard by two; a sender that both heard shows when it was heard last.
func merge(a, b []flood.Heard) []flood.Heard {
	at := map[flood.Heard]int{}
	for i, h := range a {
		h.Age = 0
		at[h] = i
	}
	for _, h := range b {
		key := h
		key.Age = 0
		if i, both := at[key]; both {
			a[i].Age = min(a[i].Age, h.Age)
		} else {
			a = append(a, h)
		}
	}
	return a
}
