package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"

	"github.com/vtepbgp/vtepbgp/lab/nsthread"
)

const (
	places = 2048 // destinations that the sink tells apart
	slots  = 64   // marked frames that are counted by destination; 0 is no mark
	stamps = 4096 // marked frames whose times are kept

	// Of a copy.
	atType, atProtocol, atDestination, atPort, atMark = 12, 23, 30, 36, 68
	headLength                                        = 70

	// Of struct __sk_buff (linux/bpf.h).
	skbData, skbEnd, skbSegments = 76, 80, 164

	shot = 2  // TC_ACT_SHOT
	next = -1 // TCX_NEXT
)

// sink counts what arrives.
type sink struct {
	counts *ebpf.Map // copies by destination, all in one value: no lookup
	cells  *ebpf.Map // marked copies by mark and destination
	first  *ebpf.Map // when the first copy of a marked frame came
	link   link.Link
}

func newSink(s *stand) (k *sink, err error) {
	k = &sink{}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	for _, m := range []struct {
		to    **ebpf.Map
		value uint32
		count uint32
	}{{&k.counts, 8 * places, 1}, {&k.cells, 4, slots * places}, {&k.first, 8, stamps}} {
		if *m.to, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: m.value, MaxEntries: m.count}); err != nil {
			return nil, fmt.Errorf("make map of the sink: %w", err)
		}
	}
	k.link, err = attach(s.sink, "s0", k.program())
	return k, err
}

// look makes the first bytes of the frame readable at R7. What is behind that which a device has
// put into pages is copied: to pull it would cost what no wire does, and look like a slower
// replicator.
func look(length int32) asm.Instructions {
	const copied = keyAt - (headLength+7)/8*8
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R7, asm.R6, skbData, asm.Word), asm.LoadMem(asm.R3, asm.R6, skbEnd, asm.Word),
		asm.Mov.Reg(asm.R2, asm.R7), asm.Add.Imm(asm.R2, length), asm.JLE.Reg(asm.R2, asm.R3, "read"),
		asm.Mov.Reg(asm.R7, asm.RFP), asm.Add.Imm(asm.R7, copied),
		asm.Mov.Reg(asm.R1, asm.R6), asm.Mov.Imm(asm.R2, 0), asm.Mov.Reg(asm.R3, asm.R7), asm.Mov.Imm(asm.R4, length),
		asm.FnSkbLoadBytes.Call(), asm.JNE.Imm(asm.R0, 0, "pass"),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("read"),
	}
}

// number reads two bytes in network order.
func number(to asm.Register, at int16) asm.Instructions {
	return asm.Instructions{asm.LoadMem(to, asm.R7, at, asm.Half), asm.HostTo(asm.BE, to, asm.Half)}
}

const keyAt = -8 // where the stack has the key of a lookup

// lookup finds the entry of an array whose number a register has.
func lookup(m *ebpf.Map, index asm.Register, none string) asm.Instructions {
	return asm.Instructions{
		asm.StoreMem(asm.RFP, keyAt, index, asm.Word), asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, keyAt),
		asm.LoadMapPtr(asm.R1, m.FD()), asm.FnMapLookupElem.Call(), asm.JEq.Imm(asm.R0, 0, none),
	}
}

func join(parts ...asm.Instructions) (all asm.Instructions) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// program costs as little as can be: what it costs looks like a slower replicator.
func (k *sink) program() asm.Instructions {
	return join(
		look(headLength),
		number(asm.R2, atType), asm.Instructions{asm.JNE.Imm(asm.R2, 0x0800, "pass")},
		asm.Instructions{asm.LoadMem(asm.R2, asm.R7, atProtocol, asm.Byte), asm.JNE.Imm(asm.R2, 17, "pass")},
		number(asm.R2, atPort), asm.Instructions{asm.JNE.Imm(asm.R2, vxlanPort, "pass")},
		number(asm.R8, atMark), number(asm.R9, atDestination+2),
		asm.Instructions{
			asm.And.Imm(asm.R9, places-1), asm.Mov.Reg(asm.R3, asm.R9), asm.LSh.Imm(asm.R3, 3),
			asm.LoadMapValue(asm.R1, k.counts.FD(), 0), asm.Add.Reg(asm.R1, asm.R3),
			// Merged ones would count as many.
			asm.LoadMem(asm.R2, asm.R6, skbSegments, asm.Word), asm.JNE.Imm(asm.R2, 0, "merged"), asm.Mov.Imm(asm.R2, 1),
			asm.StoreXAdd(asm.R1, asm.R2, asm.DWord).WithSymbol("merged"),
			asm.JEq.Imm(asm.R8, 0, "drop"), asm.FnKtimeGetNs.Call(), asm.Mov.Reg(asm.R7, asm.R0),
		},
		lookup(k.first, asm.R8, "drop"),
		asm.Instructions{
			asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord), asm.JNE.Imm(asm.R1, 0, "later"), asm.StoreMem(asm.R0, 0, asm.R7, asm.DWord),
			asm.JGE.Imm(asm.R8, slots, "drop").WithSymbol("later"), asm.LSh.Imm(asm.R8, 11), asm.Or.Reg(asm.R8, asm.R9),
		},
		lookup(k.cells, asm.R8, "drop"),
		asm.Instructions{
			asm.Mov.Imm(asm.R1, 1), asm.StoreXAdd(asm.R0, asm.R1, asm.Word),
			asm.Mov.Imm(asm.R0, shot).WithSymbol("drop"), asm.Return(),
			asm.Mov.Imm(asm.R0, next).WithSymbol("pass"), asm.Return(),
		},
	)
}

// attach puts a program at the ingress of a device.
func attach(n *nsthread.Namespace, device string, code asm.Instructions) (l link.Link, err error) {
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: code, License: "GPL"})
	if err != nil {
		return nil, fmt.Errorf("load program for %s: %w", device, err)
	}
	defer func() { _ = p.Close() }() // the link holds it
	index, err := indexOf(n, device)
	if err != nil {
		return nil, err
	}
	err = n.Do(func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: ebpf.AttachTCXIngress})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("attach program to %s: %w", device, err)
	}
	return l, nil
}

func (k *sink) close() {
	if k.link != nil {
		_ = k.link.Close()
	}
	for _, m := range []*ebpf.Map{k.counts, k.cells, k.first} {
		if m != nil {
			_ = m.Close()
		}
	}
}

// read gives the copies by destination, ever.
func (k *sink) read() ([]uint64, error) {
	all := make([]uint64, places)
	if err := k.counts.Lookup(uint32(0), all); err != nil {
		return nil, fmt.Errorf("read what the sink counts: %w", err)
	}
	return all, nil
}

// total is all copies, ever.
func (k *sink) total() (n uint64, err error) {
	all, err := k.read()
	for _, c := range all {
		n += c
	}
	return n, err
}

// forget begins anew with marked frames.
func (k *sink) forget() error {
	return errors.Join(clearArray[uint32](k.cells), clearArray[uint64](k.first))
}

// notOnce counts the copies of marked frames that did not come once to destinations 1 to
// n: those that did not come, and those that came again. Marks 1 to marked were sent. What
// comes to one place, if it is not 0, does not matter.
func (k *sink) notOnce(marked, n, except int) (missed, doubled uint64, err error) {
	cells, err := readArray[uint32](k.cells)
	if err != nil {
		return 0, 0, err
	}
	for m := range slots {
		for place := range places {
			switch c := cells[m*places+place]; {
			case place == except && except != 0:
			case m >= 1 && m <= marked && place >= 1 && place <= n:
				if c == 0 {
					missed++
				} else {
					doubled += uint64(c - 1)
				}
			default:
				doubled += uint64(c) // nobody's
			}
		}
	}
	return missed, doubled, nil
}

func readArray[T any](m *ebpf.Map) ([]T, error) {
	var cursor ebpf.MapBatchCursor
	keys, values := make([]uint32, m.MaxEntries()), make([]T, m.MaxEntries())
	if _, err := m.BatchLookup(&cursor, keys, values, nil); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return nil, fmt.Errorf("read what the sink counts: %w", err)
	}
	return values, nil // an array gives its entries in order
}

func clearArray[T any](m *ebpf.Map) error {
	keys, values := make([]uint32, m.MaxEntries()), make([]T, m.MaxEntries())
	for i := range keys {
		keys[i] = uint32(i)
	}
	if _, err := m.BatchUpdate(keys, values, nil); err != nil {
		return fmt.Errorf("clear what the sink counts: %w", err)
	}
	return nil
}
