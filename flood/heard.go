package flood

import (
	"net/netip"
	"sync"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// maxHeard bounds what senders can make us remember.
const maxHeard = 1 << 16

// Ears remember who was heard. They are safe for concurrent use.
type Ears struct {
	mu   sync.Mutex
	last map[heardKey]time.Duration
}

type heardKey struct {
	vni  evpn.VNI
	vtep netip.Addr
	mac  evpn.MAC
}

// NewEars have heard nobody.
func NewEars() *Ears { return &Ears{last: map[heardKey]time.Duration{}} }

// Note remembers the sender of a packet on a network that asks for it. now comes from a
// monotonic clock. When there are too many, new ones are not heard.
func (e *Ears) Note(n *Network, p *Packet, now time.Duration) {
	if !n.HearVTEPs && !n.HearMACs {
		return
	}
	k := heardKey{vni: n.VNI, vtep: p.Source}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.note(k, now)
	if mac := p.InnerSource(); n.HearMACs && !mac.IsGroup() && !mac.IsZero() {
		k.mac = mac
		e.note(k, now)
	}
}

func (e *Ears) note(k heardKey, now time.Duration) {
	if _, known := e.last[k]; known || len(e.last) < maxHeard {
		e.last[k] = now
	}
}

// Heard gives who was heard within a time, and forgets who was not heard for ten times that.
func (e *Ears) Heard(within, now time.Duration) []Heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []Heard
	for k, at := range e.last {
		switch age := now - at; {
		case age <= within:
			all = append(all, Heard{VNI: k.vni, VTEP: k.vtep, MAC: k.mac, Age: age})
		case age > 10*within:
			delete(e.last, k)
		}
	}
	return all
}
