package speaker

import (
	"bytes"
	"encoding/binary"

	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// repacker joins consecutive UPDATEs of GoBGP that differ in their routes only: GoBGP v3.37.0 sends
// one EVPN route per UPDATE, which costs every receiver a hundred times the messages. The
// order of routes stays.
type repacker struct {
	out   []byte // whole messages, ready
	count int    // how many

	first []byte // the pending message as GoBGP wrote it
	at    mpPlace
	nlri  []byte // NLRI of all joined messages
	many  bool   // more than one was joined
}

// mpPlace says where in the body of an UPDATE the one MP_REACH_NLRI or MP_UNREACH_NLRI lies.
type mpPlace struct {
	attr  int // its first octet
	value int // first octet of the value
	nlri  int // first octet of the NLRI
	end   int // behind it
}

const (
	attrMPReach   = 14
	attrMPUnreach = 15
	flagExtended  = 0x10
)

// findMP finds it in an UPDATE that carries EVPN routes and nothing else.
func findMP(body []byte) (p mpPlace, ok bool) {
	if len(body) < 4 || body[0]|body[1] != 0 || 4+int(binary.BigEndian.Uint16(body[2:])) != len(body) {
		return p, false
	}
	for i := 4; i < len(body); {
		header := 3
		if body[i]&flagExtended != 0 {
			header = 4
		}
		if i+header > len(body) {
			return p, false
		}
		n := int(body[i+2])
		if header == 4 {
			n = int(binary.BigEndian.Uint16(body[i+2:]))
		}
		value, end := i+header, i+header+n
		if end > len(body) {
			return p, false
		}
		v := body[value:end]
		if t := body[i+1]; t == attrMPReach || t == attrMPUnreach {
			off := 3
			if t == attrMPReach {
				if n < 5 {
					return p, false
				}
				off = 5 + int(v[3])
			}
			if p.attr != 0 || n <= off || v[0] != 0 || v[1] != wire.AFIL2VPN || v[2] != wire.SAFIEVPN {
				return p, false
			}
			p = mpPlace{attr: i, value: value, nlri: value + off, end: end}
		}
		i = end
	}
	return p, p.attr != 0
}

// sameBut reports whether two bodies differ in their NLRI (and its length) only.
func sameBut(a []byte, p mpPlace, b []byte, q mpPlace) bool {
	return a[p.attr+1] == b[q.attr+1] &&
		bytes.Equal(a[4:p.attr], b[4:q.attr]) &&
		bytes.Equal(a[p.value:p.nlri], b[q.value:q.nlri]) &&
		bytes.Equal(a[p.end:], b[q.end:])
}

// add takes one whole message; it is copied.
func (r *repacker) add(msg []byte) {
	body := msg[wire.HeaderLen:]
	at, ok := mpPlace{}, false
	if msg[18] == wire.TypeUpdate {
		at, ok = findMP(body)
	}
	if !ok {
		r.settle()
		r.out = append(r.out, msg...)
		r.count++
		return
	}
	nlri := body[at.nlri:at.end]
	if len(r.first) > 0 && sameBut(r.first[wire.HeaderLen:], r.at, body, at) &&
		len(r.first)+1+len(r.nlri)-(r.at.end-r.at.nlri)+len(nlri) <= wire.MaxMessage {
		r.nlri = append(r.nlri, nlri...)
		r.many = true
		return
	}
	r.settle()
	r.first, r.at = append(r.first[:0], msg...), at
	r.nlri = append(r.nlri[:0], nlri...)
}

// settle moves the pending message to the ready ones.
func (r *repacker) settle() {
	if len(r.first) == 0 {
		return
	}
	start := len(r.out)
	if !r.many {
		r.out = append(r.out, r.first...)
	} else {
		body := r.first[wire.HeaderLen:]
		head := body[r.at.value:r.at.nlri]
		n := len(head) + len(r.nlri)
		r.out = append(r.out, r.first[:wire.HeaderLen+r.at.attr]...)
		r.out = append(r.out, body[r.at.attr]|flagExtended, body[r.at.attr+1], byte(n>>8), byte(n))
		r.out = append(append(r.out, head...), r.nlri...)
		r.out = append(r.out, body[r.at.end:]...)
		m := r.out[start:]
		binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
		binary.BigEndian.PutUint16(m[wire.HeaderLen+2:], uint16(len(m)-wire.HeaderLen-4))
	}
	r.count++
	r.first, r.many = r.first[:0], false
}

// size is about what waits.
func (r *repacker) size() int { return len(r.out) + len(r.first) + len(r.nlri) }

// take gives all messages, valid until the next add.
func (r *repacker) take() (messages []byte, count int) {
	r.settle()
	messages, count = r.out, r.count
	r.out, r.count = r.out[:0], 0
	return messages, count
}
