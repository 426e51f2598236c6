package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// AS_PATH segment types (RFC 4271 §4.3, RFC 5065 §3).
const (
	segSet            = 1
	segSequence       = 2
	segConfedSequence = 3
	segConfedSet      = 4
)

// asTrans stands for a 4-octet ASN towards a speaker that knows only two (RFC 6793 §4.2.2).
const asTrans = 23456

// asPath is an AS_PATH with 4-octet numbers, whatever it came in.
type asPath struct {
	octets []byte
	length uint16 // as RFC 4271 §9.1.2.2 (a) counts: a set is one, confederation segments none
}

// readASPath checks v (RFC 7606 §7.2, RFC 7607 §2) and widens it to 4-octet numbers.
func readASPath(v []byte, size int) (asPath, error) {
	var p asPath
	if size == 4 {
		p.octets = v
	} else {
		p.octets = make([]byte, 0, 2*len(v))
	}
	for len(v) > 0 {
		if len(v) < 2 {
			return asPath{}, errors.New("segment header runs past the end")
		}
		typ, n := v[0], int(v[1])
		if typ < segSet || typ > segConfedSet {
			return asPath{}, fmt.Errorf("segment type %d", typ)
		}
		if n == 0 {
			return asPath{}, errors.New("empty segment")
		}
		if len(v) < 2+n*size {
			return asPath{}, errors.New("segment runs past the end")
		}
		if size == 2 {
			p.octets = append(p.octets, typ, byte(n))
		}
		for i := range n {
			as := asn(v[2+i*size:], size)
			if as == 0 {
				return asPath{}, errors.New("AS 0")
			}
			if size == 2 {
				p.octets = binary.BigEndian.AppendUint32(p.octets, as)
			}
		}
		p.length += pathLength(typ, n)
		v = v[2+n*size:]
	}
	return p, nil
}

func asn(b []byte, size int) uint32 {
	if size == 4 {
		return binary.BigEndian.Uint32(b)
	}
	return uint32(binary.BigEndian.Uint16(b))
}

func pathLength(typ byte, n int) uint16 {
	switch typ {
	case segSequence:
		return uint16(n)
	case segSet:
		return 1
	default:
		return 0
	}
}

// segments calls f for each segment until it returns false. p is well-formed.
func (p asPath) segments(f func(typ byte, numbers []byte) bool) {
	for v := p.octets; len(v) > 0; {
		n := 2 + 4*int(v[1])
		if !f(v[0], v[2:n]) {
			return
		}
		v = v[n:]
	}
}

func (p asPath) contains(as uint32) (found bool) {
	p.segments(func(_ byte, numbers []byte) bool {
		for ; len(numbers) > 0 && !found; numbers = numbers[4:] {
			found = binary.BigEndian.Uint32(numbers) == as
		}
		return !found
	})
	return found
}

func (p asPath) confederated() (found bool) {
	p.segments(func(typ byte, _ []byte) bool {
		found = typ == segConfedSequence || typ == segConfedSet
		return !found
	})
	return found
}

// path gives the AS_PATH, with AS4_PATH merged in when the peer knows only two octets.
func (p *attrParser) path() (asPath, error) {
	path, err := readASPath(p.asPath, p.asSize())
	if err != nil {
		return asPath{}, err
	}
	if !p.s.IBGP && path.confederated() {
		return asPath{}, errors.New("confederation segment from an external peer") // RFC 5065 §5
	}
	switch {
	case p.present(attrAS4Path) && p.s.FourOctetAS: // RFC 6793 §4.1
		p.drop(DropAttributeDiscarded, "AS4_PATH from a 4-octet speaker")
	case p.as4Path != nil && p.aggregator != nil && binary.BigEndian.Uint16(p.aggregator) != asTrans:
		// RFC 6793 §4.2.3: somebody aggregated who did not know 4 octets.
	case p.as4Path != nil:
		as4, err := readASPath(p.as4Path, 4)
		if err != nil {
			p.drop(DropAttributeDiscarded, "AS4_PATH: %v", err) // RFC 6793 §6
			break
		}
		path = mergeASPaths(path, as4)
	}
	return path, nil
}

// mergeASPaths is RFC 6793 §4.2.3: the leading numbers of AS_PATH that AS4_PATH lacks,
// then AS4_PATH without confederation segments (§6).
func mergeASPaths(path, as4 asPath) asPath {
	keep := int(path.length) - int(as4.length)
	if keep < 0 {
		return path
	}
	var out asPath
	path.segments(func(typ byte, numbers []byte) bool {
		n := len(numbers) / 4
		switch l := int(pathLength(typ, n)); {
		case l <= keep:
			keep -= l
		case keep > 0: // a sequence, cut
			numbers, n, keep = numbers[:4*keep], keep, 0
		default:
			return false
		}
		out.add(typ, n, numbers)
		return true
	})
	as4.segments(func(typ byte, numbers []byte) bool {
		if typ == segSequence || typ == segSet {
			out.add(typ, len(numbers)/4, numbers)
		}
		return true
	})
	return out
}

func (p *asPath) add(typ byte, n int, numbers []byte) {
	p.octets = append(append(p.octets, typ, byte(n)), numbers...)
	p.length += pathLength(typ, n)
}
