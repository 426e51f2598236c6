package kernel

import (
	"net/netip"
	"unique"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// vtep is a remote VTEP address in eight bytes. The zero value is no address.
// There are few VTEPs and many MACs behind each.
type vtep = unique.Handle[netip.Addr]

func makeVTEP(ip netip.Addr) vtep {
	if !ip.IsValid() {
		return vtep{}
	}
	return unique.Make(ip)
}

// rowShape is how a row of the FDB is marked.
type rowShape uint8

const (
	shapeNone    rowShape = iota // no row
	shapeLearned                 // extern_learn: an ordinary remote MAC
	shapeSticky                  // sticky static: a remote MAC that must not move
	shapeForeign                 // marked otherwise, so made by somebody else
)

// flags of macEntry, floodEntry and neighborEntry.
type rowFlags uint16

const (
	flagQueued    rowFlags = 1 << iota // in a write queue
	flagDisturbed                      // differs from intent by somebody else's doing
	flagYield                          // a local row took the MAC over; wait for the core
	flagDrop                           // intent was withdrawn: remove what is there
	flagSeen                           // seen in the dump that runs (VXLAN row, or the only row)
	flagSeenPort                       // the same for the bridge row
	flagReport                         // in the report queue
	flagHeld                           // the bridge aged the MAC out, and its host is being asked
	flagRefuted                        // a packet said otherwise since than the kernel's neighbour
	flagAgain                          // local again before the core heard that it was not: tell it once more
)

// macEntry is all that is known of one MAC of one VNI: intent, the two kernel rows
// of a remote MAC, and the bridge row of a local one. 100,000 of them must stay
// small, so there is one map from MAC to this and nothing beside it.
type macEntry struct {
	want vtep // zero = not wanted
	have vtep // destination of the VXLAN row

	port     int32 // access port that the bridge row points to; 0 = not local
	reported int32 // port that the core was told of; 0 = none

	flags          rowFlags
	wantSticky     bool
	selfShape      rowShape // VXLAN row
	bridgeShape    rowShape // bridge row, when it points to the VXLAN port
	localSticky    bool
	reportedSticky bool
}

func (e *macEntry) wantShape() rowShape {
	if e.wantSticky {
		return shapeSticky
	}
	return shapeLearned
}

func (e *macEntry) wanted() bool { return e.want != vtep{} }

// settled says that the kernel holds what is wanted.
func (e *macEntry) settled() bool {
	if e.wanted() {
		s := e.wantShape()
		return e.have == e.want && e.selfShape == s && e.bridgeShape == s
	}
	return !ours(e.selfShape) && !ours(e.bridgeShape)
}

// news says that the core has to be told where the MAC is.
func (e *macEntry) news() bool {
	return e.port != e.reported || e.localSticky != e.reportedSticky || e.flags&flagAgain != 0
}

// empty entries are dropped from their map.
func (e *macEntry) empty() bool {
	return !e.wanted() && e.selfShape == shapeNone && e.bridgeShape == shapeNone &&
		e.port == 0 && e.reported == 0 && e.flags&(flagQueued|flagReport) == 0
}

// ours says that a row on our device bears the marks that we write.
func ours(s rowShape) bool { return s == shapeLearned || s == shapeSticky }

// neighborEntry is one IP address on the bridge of a VNI.
type neighborEntry struct {
	want evpn.MAC // zero = not wanted
	have evpn.MAC // of the kernel's row, when it is ours or local

	reported       evpn.MAC // binding that the core was told of; zero = none
	flags          rowFlags
	wantRouter     bool
	haveRouter     bool
	reportedRouter bool
	shape          neighborShape
}

type neighborShape uint8

const (
	neighborNone    neighborShape = iota
	neighborOurs                  // exactly as we write it
	neighborLocal                 // resolved by the kernel, or pinned by an operator
	neighborForeign               // anything else
)

func (e *neighborEntry) wanted() bool { return !e.want.IsZero() }

func (e *neighborEntry) settled() bool {
	if e.wanted() {
		return e.shape == neighborOurs && e.have == e.want && e.haveRouter == e.wantRouter
	}
	return e.shape != neighborOurs
}

func (e *neighborEntry) empty() bool {
	return !e.wanted() && (e.shape == neighborNone || e.shape == neighborForeign) && e.reported.IsZero() && e.flags&(flagQueued|flagReport) == 0
}

// instance is one VNI: its configuration, its links as last seen, and its rows.
type instance struct {
	vni        evpn.VNI
	cfg        VNI
	configured bool // else only rows wait here for the configuration to come

	device, bridge int32   // link indexes; 0 = not there (or of no use)
	remote         floodTo // default remote of the device, whose zero-MAC row is not ours
	groupVia       int32   // where flood rows towards cfg.Group leave; 0 = nowhere at present
	sviMAC         evpn.MAC
	sviGateway     bool
	sviIPs         []netip.Addr

	state       deviceState
	told        told
	stateQueued bool

	macs      map[evpn.MAC]macEntry
	floods    map[floodTo]floodEntry
	neighbors map[netip.Addr]neighborEntry

	floodQueue []floodTo // to be written, see writeFloods

	wantedMACs, wantedFloods, wantedNeighbors int

	ways      map[vtep]int // VTEPs that wanted rows point to, and how many rows
	localMACs int
}

func newInstance(vni evpn.VNI) *instance {
	return &instance{
		vni:       vni,
		macs:      map[evpn.MAC]macEntry{},
		floods:    map[floodTo]floodEntry{},
		neighbors: map[netip.Addr]neighborEntry{},
		ways:      map[vtep]int{},
	}
}

// needs counts rows by the VTEP that they point to; n is 1 or -1.
func (in *instance) needs(to vtep, n int) {
	if in.ways[to] += n; in.ways[to] == 0 {
		delete(in.ways, to)
	}
}

// writable says that rows of this kind can be written now.
func (in *instance) writable(kind evpn.RowKind) bool {
	switch kind {
	case evpn.NeighborRow:
		return in.bridge != 0 && in.state.bridgeUp
	case evpn.MACRow:
		return in.device != 0 && in.bridge != 0
	default:
		return in.device != 0
	}
}

// queue is a first-in first-out list of keys. It gives its memory back when empty.
type queue[K any] struct {
	items []K
	head  int
}

func (q *queue[K]) push(k K) { q.items = append(q.items, k) }
func (q *queue[K]) len() int { return len(q.items) - q.head }
func (q *queue[K]) pop() (k K) {
	k = q.items[q.head]
	q.head++
	if q.head == len(q.items) {
		if cap(q.items) > 4096 {
			q.items = nil
		}
		q.items, q.head = q.items[:0], 0
	}
	return k
}

// Keys of the queues.
type (
	macKey struct {
		in  *instance
		mac evpn.MAC
	}
	neighborKey struct {
		in *instance
		ip netip.Addr
	}
)

// pending is what the writer has to look at. Sets go before deletes, so that an
// entry that replaces another is there before the other is gone; among sets the
// MAC comes before the neighbour that resolves to it (suppression answers only
// for a MAC that the bridge knows), and among deletes after it. Flood rows go list by
// list.
type pending struct {
	floods                        queue[*instance]
	floodRows                     int // in the queues of those instances
	setMACs, deleteMACs           queue[macKey]
	setNeighbors, deleteNeighbors queue[neighborKey]
}

func (p *pending) len() int {
	return p.floodRows + p.setMACs.len() + p.deleteMACs.len() +
		p.setNeighbors.len() + p.deleteNeighbors.len()
}
