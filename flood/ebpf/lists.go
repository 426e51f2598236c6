package ebpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

const (
	// Flags of flood.bpf.c.
	networkGroup, networkZeroChecksum6, networkHearVTEPs, networkHearMACs    = 1, 2, 4, 8
	networkOwn, networkOthers, networkLeased, networkDelivers, networkItself = 16, 32, 64, 128, 256
	targetSlow                                                               = 1

	// Each replacement waits until no program uses the old list (synchronize_rcu); those
	// that wait together wait once.
	atOnce = 32

	// retention is how long a list that was replaced is remembered for packets that were
	// handed over with its generation.
	retention = 10 * time.Second
)

// address is an address as the program has it: IPv4 is mapped.
type address [16]byte

func addressOf(a netip.Addr) address { return a.As16() }

func (a address) netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

type listKey struct {
	vni    evpn.VNI
	listen netip.Addr
}

func (k listKey) bytes() (b [20]byte) {
	binary.NativeEndian.PutUint32(b[:], uint32(k.vni))
	a := addressOf(k.listen)
	copy(b[4:], a[:])
	return b
}

// entry is an entry of a list: the first one is the network, the others are targets.
type entry [unsafe.Sizeof(programTarget{}) / 4]uint32

func entryOf(n *programNetwork) entry     { return *(*entry)(unsafe.Pointer(n)) }
func targetOf(t *programTarget) entry     { return *(*entry)(unsafe.Pointer(t)) }
func (e *entry) network() *programNetwork { return (*programNetwork)(unsafe.Pointer(e)) }
func (e *entry) target() *programTarget   { return (*programTarget)(unsafe.Pointer(e)) }

// block is what a list is kept in.
type block [len(programBlock{}.Entries)]entry

// list is a list as the program has it.
type list struct {
	key        listKey
	generation uint32
	entries    []entry
	to         []netip.Addr
	slow       []netip.Addr // of to
	slowAt     []int        // their places in to
	network    flood.Network
	tally      *flood.Tally
	replaced   time.Time
}

// same says that o is no news. A list that packets may refer to is never changed, so one
// that counts elsewhere is.
func (l *list) same(o *list) bool {
	if l.tally != o.tally {
		return false
	}
	a, b := l.entries[0], o.entries[0]
	a.network().Generation, b.network().Generation = 0, 0
	return a == b && slices.Equal(l.entries[1:], o.entries[1:])
}

// recent are the lists in place and those that were replaced not long ago, by generation. It is
// asked while tables are put in place.
type recent struct {
	mu    sync.Mutex
	lists map[uint32]*list
}

func (r *recent) find(generation uint32) *list {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lists[generation]
}

func (r *recent) add(l *list) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lists[l.generation] = l
}

// expire forgets what was replaced long ago.
func (r *recent) expire(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.lists, func(_ uint32, l *list) bool { return !l.replaced.IsZero() && now.Sub(l.replaced) > retention })
}

// lists keeps the maps of the program.
type lists struct {
	maps      *programMaps
	listening *ebpf.Variable
	way       func(destination) way

	installed  map[listKey]*list
	recent     recent
	generation uint32

	states    map[listKey]*folded
	nextState uint32
	sets      map[string]uint32 // of places, by content
	nextSet   uint32
	vnis      map[evpn.VNI]bool
	listens   map[netip.Addr]bool
}

func newLists(objects *programObjects, way func(destination) way) *lists {
	return &lists{
		maps: &objects.programMaps, listening: objects.Listening, way: way, installed: map[listKey]*list{}, recent: recent{lists: map[uint32]*list{}}, states: map[listKey]*folded{},
		sets: map[string]uint32{}, vnis: map[evpn.VNI]bool{}, listens: map[netip.Addr]bool{},
	}
}

// install makes the maps say what a table says. What is new is there before a list refers
// to it, and what is gone goes when no list does any more. A list that cannot be made or put in place leaves that which is there, with
// all that it refers to.
func (l *lists) install(d *flood.Decider, own []netip.Addr, now time.Time) error {
	var wanted []*list
	used := map[string]bool{}
	vnis, listens := map[evpn.VNI]bool{}, map[netip.Addr]bool{}
	var errs []error
	d.Lists(func(n *flood.Network, to []netip.Addr, tally *flood.Tally) {
		fresh, err := l.build(n, to, tally, own, used)
		if err != nil {
			errs = append(errs, err)
			if fresh = l.installed[listKey{n.VNI, n.Listen}]; fresh == nil {
				return
			}
		}
		wanted = append(wanted, fresh)
		vnis[n.VNI], listens[n.Listen] = true, true
	})
	errs = append(errs, l.replace(wanted, now), l.remove(wanted, now))
	errs = append(errs, follow(l.maps.Vnis, l.vnis, vnis, func(v evpn.VNI) any { return uint32(v) }))
	errs = append(errs, follow(l.maps.Listens, l.listens, listens, func(a netip.Addr) any { return addressOf(a) }), l.listen())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return l.sweep(used)
}

func (l *lists) build(n *flood.Network, to []netip.Addr, tally *flood.Tally, own []netip.Addr, used map[string]bool) (*list, error) {
	key := listKey{n.VNI, n.Listen}
	state, err := l.state(key, tally)
	if err != nil {
		return nil, err
	}
	head := programNetwork{Count: uint32(len(to)), State: state, Port: bigEndian(n.Port), Rate: n.Rate, Burst: n.Burst}
	for number, prefixes := range map[*uint32][]netip.Prefix{&head.Own: hosts(own), &head.Segment: n.Segment, &head.Itself: hosts(n.Itself)} {
		if *number, err = l.set(prefixes, used); err != nil {
			return nil, err
		}
	}
	for _, a := range own {
		head.OwnMarks |= 1 << (markOf(a) % 32)
	}
	if head.Burst == 0 {
		head.Burst = max(1, n.Rate/10)
	}
	for flag, on := range map[uint16]bool{
		networkGroup: n.Listen.IsMulticast(), networkZeroChecksum6: n.ZeroChecksum6, networkHearVTEPs: n.HearVTEPs, networkHearMACs: n.HearMACs,
		networkOwn: n.Own, networkOthers: n.Others, networkLeased: n.Leased, networkDelivers: n.Deliver.IsValid(), networkItself: len(n.Itself) > 0,
	} {
		if on {
			head.Flags |= flag
		}
	}
	fresh := &list{key: key, entries: make([]entry, 1, 1+len(to)), to: to, network: *n, tally: tally}
	fresh.entries[0] = entryOf(&head)
	for i, a := range to {
		w := l.way(destinationOf(n, a))
		t := programTarget{Ifindex: w.device, Macs: [12]byte(append(w.dmac[:], w.smac[:]...)), Mtu: w.mtu}
		b := addressOf(a)
		for j := range t.To.Word {
			t.To.Word[j] = binary.NativeEndian.Uint32(b[4*j:])
		}
		if !w.fast {
			t = programTarget{To: t.To, Flags: targetSlow}
			fresh.slow, fresh.slowAt = append(fresh.slow, a), append(fresh.slowAt, i)
		}
		fresh.entries = append(fresh.entries, targetOf(&t))
	}
	return fresh, nil
}

// hosts are addresses as prefixes.
func hosts(addresses []netip.Addr) (all []netip.Prefix) {
	for _, a := range addresses {
		all = append(all, netip.PrefixFrom(a, a.BitLen()))
	}
	return all
}

// replace puts in those lists that differ from what is there.
func (l *lists) replace(wanted []*list, now time.Time) error {
	var put errgroup.Group
	put.SetLimit(atOnce)
	done := make([]bool, len(wanted))
	for i, fresh := range wanted {
		if before := l.installed[fresh.key]; before != nil && before.same(fresh) {
			continue
		}
		l.generation++
		fresh.generation = l.generation
		fresh.entries[0].network().Generation = fresh.generation
		// Known before the first packet can be handed over with it.
		l.recent.add(fresh)
		put.Go(func() error {
			err := l.put(fresh)
			done[i] = err == nil
			return err
		})
	}
	err := put.Wait()
	for i, fresh := range wanted {
		if !done[i] {
			continue
		}
		if before := l.installed[fresh.key]; before != nil {
			before.replaced = now
		}
		l.installed[fresh.key] = fresh
	}
	return err
}

func (l *lists) put(fresh *list) error {
	var blocks []block
	for some := range slices.Chunk(fresh.entries, len(block{})) {
		var b block
		copy(b[:], some)
		blocks = append(blocks, b)
	}
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.Array, KeySize: 4, ValueSize: uint32(unsafe.Sizeof(block{})), MaxEntries: uint32(len(blocks)), Flags: innerMap,
	})
	if err != nil {
		return fmt.Errorf("make the list of network %d: %w", fresh.key.vni, err)
	}
	defer func() { _ = m.Close() }() // the outer map holds it
	keys := make([]uint32, len(blocks))
	for i := range keys {
		keys[i] = uint32(i)
	}
	if _, err := m.BatchUpdate(keys, blocks, nil); err != nil {
		return fmt.Errorf("fill the list of network %d: %w", fresh.key.vni, err)
	}
	if err := l.maps.Networks.Put(fresh.key.bytes(), m); err != nil {
		return fmt.Errorf("put the list of network %d in place: %w", fresh.key.vni, err)
	}
	return nil
}

// innerMap is BPF_F_INNER_MAP: lists of different lengths in one map.
const innerMap = 1 << 12

func (l *lists) remove(wanted []*list, now time.Time) error {
	keep := map[listKey]bool{}
	for _, w := range wanted {
		keep[w.key] = true
	}
	var drop errgroup.Group
	drop.SetLimit(atOnce)
	for key, old := range l.installed {
		if keep[key] {
			continue
		}
		old.replaced = now
		delete(l.installed, key)
		drop.Go(func() error {
			if err := l.maps.Networks.Delete(key.bytes()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
				return fmt.Errorf("remove the list of network %d: %w", key.vni, err)
			}
			return nil
		})
	}
	err := drop.Wait()
	for key := range l.states {
		if !keep[key] {
			err = errors.Join(err, l.forget(key))
		}
	}
	return err
}

// set gives the number of a set of prefixes, which is put in place when it is new.
func (l *lists) set(prefixes []netip.Prefix, used map[string]bool) (uint32, error) {
	content := placesOf(prefixes)
	used[content] = true
	if n, ok := l.sets[content]; ok {
		return n, nil
	}
	l.nextSet++
	for i, p := range prefixes {
		if err := l.maps.Places.Put(placeOf(l.nextSet, p), uint32(1)); err != nil {
			for _, p := range prefixes[:i] {
				err = errors.Join(err, l.maps.Places.Delete(placeOf(l.nextSet, p)))
			}
			return 0, fmt.Errorf("put %s in place: %w", p, err)
		}
	}
	l.sets[content] = l.nextSet
	return l.nextSet, nil
}

func placesOf(prefixes []netip.Prefix) string {
	var names []string
	for _, p := range prefixes {
		names = append(names, p.Masked().String())
	}
	slices.Sort(names)
	return fmt.Sprint(slices.Compact(names))
}

func placeOf(set uint32, p netip.Prefix) (b [24]byte) {
	bits := p.Bits()
	if p.Addr().Is4() {
		bits += 96
	}
	binary.NativeEndian.PutUint32(b[:], uint32(32+bits))
	binary.BigEndian.PutUint32(b[4:], set)
	a := addressOf(p.Masked().Addr())
	copy(b[8:], a[:])
	return b
}

// sweep removes the sets that no list refers to.
func (l *lists) sweep(used map[string]bool) error {
	gone := map[uint32]bool{}
	for content, n := range l.sets {
		if !used[content] {
			gone[n] = true
			delete(l.sets, content)
		}
	}
	if len(gone) == 0 {
		return nil
	}
	var key [24]byte
	var value uint32
	var stale [][24]byte
	all := l.maps.Places.Iterate()
	for all.Next(&key, &value) {
		if gone[binary.BigEndian.Uint32(key[4:])] {
			stale = append(stale, key)
		}
	}
	errs := []error{all.Err()}
	for _, k := range stale {
		errs = append(errs, l.maps.Places.Delete(k))
	}
	return errors.Join(errs...)
}

// listen marks the addresses that are listened to.
func (l *lists) listen() error {
	var marks [64]uint64
	for a := range l.listens {
		m := markOf(a)
		marks[m/64] |= 1 << (m % 64)
	}
	if err := l.listening.Set(marks); err != nil {
		return fmt.Errorf("mark the addresses that are listened to: %w", err)
	}
	return nil
}

// markOf is a number of 12 bits, as the program makes it.
func markOf(a netip.Addr) uint32 {
	var sum uint32
	b := addressOf(a)
	for i := 0; i < len(b); i += 4 {
		sum ^= binary.NativeEndian.Uint32(b[i:])
	}
	return sum * 0x9e3779b1 >> 20
}

// follow makes a map have the keys that are wanted, and remembers what it has.
func follow[K comparable](m *ebpf.Map, has, wanted map[K]bool, key func(K) any) error {
	var errs []error
	for k := range wanted {
		if has[k] {
			continue
		}
		if err := m.Put(key(k), uint32(1)); err != nil {
			errs = append(errs, fmt.Errorf("put %v in place: %w", k, err))
			continue
		}
		has[k] = true
	}
	for k := range has {
		if wanted[k] {
			continue
		}
		if err := m.Delete(key(k)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			errs = append(errs, fmt.Errorf("remove %v: %w", k, err))
			continue
		}
		delete(has, k)
	}
	return errors.Join(errs...)
}

// bigEndian is a number whose bytes in memory are in network order.
func bigEndian(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
