package wire

import (
	"bytes"
	"encoding/binary"
)

// Repacker joins consecutive UPDATEs of GoBGP that differ in their routes only: GoBGP v3.37.0 sends
// one EVPN route per UPDATE, which costs every receiver a hundred times the messages. The
// order of routes stays.
type Repacker struct {
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

// findMP finds it in an UPDATE that carries EVPN routes and nothing else.
func findMP(body []byte) (p mpPlace, ok bool) {
	if len(body) < 4 || body[0]|body[1] != 0 || 4+int(binary.BigEndian.Uint16(body[2:])) != len(body) {
		return p, false
	}
	for rest := body[4:]; len(rest) > 0; {
		start := len(body) - len(rest)
		a, r, ok := nextAttr(rest)
		if !ok {
			return p, false
		}
		rest = r
		if a.typ != attrMPReach && a.typ != attrMPUnreach {
			continue
		}
		v, off := a.value, 3
		if a.typ == attrMPReach {
			if len(v) < 5 {
				return p, false
			}
			off = 5 + int(v[3])
		}
		if p.attr != 0 || len(v) <= off || v[0] != 0 || v[1] != AFIL2VPN || v[2] != SAFIEVPN {
			return p, false
		}
		end := start + len(a.raw)
		p = mpPlace{attr: start, value: end - len(v), nlri: end - len(v) + off, end: end}
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

// Add takes one whole message; it is copied.
func (r *Repacker) Add(msg []byte) {
	body := msg[HeaderLen:]
	at, ok := mpPlace{}, false
	if msg[18] == TypeUpdate {
		at, ok = findMP(body)
	}
	if !ok {
		r.settle()
		r.out = append(r.out, msg...)
		r.count++
		return
	}
	nlri := body[at.nlri:at.end]
	if len(r.first) > 0 && sameBut(r.first[HeaderLen:], r.at, body, at) &&
		len(r.first)+1+len(r.nlri)-(r.at.end-r.at.nlri)+len(nlri) <= MaxMessage {
		r.nlri = append(r.nlri, nlri...)
		r.many = true
		return
	}
	r.settle()
	r.first, r.at = append(r.first[:0], msg...), at
	r.nlri = append(r.nlri[:0], nlri...)
}

// settle moves the pending message to the ready ones.
func (r *Repacker) settle() {
	if len(r.first) == 0 {
		return
	}
	start := len(r.out)
	if !r.many {
		r.out = append(r.out, r.first...)
	} else {
		body := r.first[HeaderLen:]
		head := body[r.at.value:r.at.nlri]
		n := len(head) + len(r.nlri)
		r.out = append(r.out, r.first[:HeaderLen+r.at.attr]...)
		r.out = append(r.out, body[r.at.attr]|flagExtended, body[r.at.attr+1], byte(n>>8), byte(n))
		r.out = append(append(r.out, head...), r.nlri...)
		r.out = append(r.out, body[r.at.end:]...)
		m := r.out[start:]
		binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
		binary.BigEndian.PutUint16(m[HeaderLen+2:], uint16(len(m)-HeaderLen-4))
	}
	r.count++
	r.first, r.many = r.first[:0], false
}

// Size is about what waits.
func (r *Repacker) Size() int { return len(r.out) + len(r.first) + len(r.nlri) }

// Take gives all messages, valid until the next Add.
func (r *Repacker) Take() (messages []byte, count int) {
	r.settle()
	messages, count = r.out, r.count
	r.out, r.count = r.out[:0], 0
	return messages, count
}
