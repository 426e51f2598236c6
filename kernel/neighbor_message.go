package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Attributes and flags of linux/neighbour.h that x/sys does not name.
const (
	ndaProtocol = 12   // NDA_PROTOCOL, Linux 4.20
	ntfSticky   = 0x40 // NTF_STICKY, Linux 4.19 for bridges
)

// Protocol marks our neighbours (NDA_PROTOCOL; `ip neigh` shows "proto 229").
// linux/rtnetlink.h gives values above RTPROT_STATIC to user space; 0xe5 is not
// taken there (as of Linux 6.18) nor in iproute2's rt_protos.
const Protocol = 0xe5

const sizeofNdMsg = 12 // struct ndmsg

// decodeNeighbor reads the body of RTM_NEWNEIGH or RTM_DELNEIGH. The result
// shares no memory with it. ok is false for what cannot be a row of ours: cut
// short, or with attributes of impossible size.
func decodeNeighbor(body []byte) (n Neighbor, ok bool) {
	if len(body) < sizeofNdMsg {
		return Neighbor{}, false
	}
	n = Neighbor{
		Family: body[0],
		Index:  int32(native.Uint32(body[4:])),
		State:  native.Uint16(body[8:]),
		Flags:  body[10],
	}
	for a, rest, more := nextAttribute(body[sizeofNdMsg:]); more; a, rest, more = nextAttribute(rest) {
		switch a.typ {
		case unix.NDA_DST:
			if n.Addr = a.addr(); !n.Addr.IsValid() {
				return Neighbor{}, false
			}
		case unix.NDA_LLADDR:
			if len(a.value) != len(n.MAC) {
				return Neighbor{}, false
			}
			copy(n.MAC[:], a.value)
		case unix.NDA_VLAN:
			n.VLAN = a.uint16()
		case unix.NDA_IFINDEX:
			n.Via = int32(a.uint32())
		case unix.NDA_MASTER:
			n.Master = int32(a.uint32())
		case ndaProtocol:
			n.Protocol = a.uint8()
		}
	}
	return n, true
}

// appendNeighborOp appends one message of a batch.
func appendNeighborOp(b []byte, op NeighborOp, seq uint32, ack bool) []byte {
	start := len(b)
	typ, flags := uint16(unix.RTM_NEWNEIGH), uint16(unix.NLM_F_REQUEST)
	switch op.Verb {
	case Replace:
		flags |= unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	case Append:
		// Replacing a zero-MAC row would drop the whole list; an append of what is
		// there says EEXIST.
		flags |= unix.NLM_F_CREATE | unix.NLM_F_APPEND
	case Delete:
		typ = unix.RTM_DELNEIGH
	}
	if ack {
		flags |= unix.NLM_F_ACK
	}
	b = appendHeader(b, typ, flags, seq)
	b = append(b, op.Family, 0, 0, 0)
	b = native.AppendUint32(b, uint32(op.Index))
	b = native.AppendUint16(b, op.State)
	b = append(b, op.Flags, 0)
	// struct ndmsg ends here.
	if op.Family == unix.AF_BRIDGE || !op.MAC.IsZero() {
		b = appendAttribute(b, unix.NDA_LLADDR, op.MAC[:])
	}
	if op.Addr.IsValid() {
		b = appendAddrAttribute(b, unix.NDA_DST, op.Addr)
	}
	if op.Via != 0 {
		b = appendUint32Attribute(b, unix.NDA_IFINDEX, uint32(op.Via))
	}
	if op.VLAN != 0 {
		b = appendAttribute(b, unix.NDA_VLAN, native.AppendUint16(nil, op.VLAN))
	}
	if op.Protocol != 0 {
		b = appendUint8Attribute(b, ndaProtocol, op.Protocol)
	}
	return finish(b, start)
}

// appendGetNeighbor appends a question for one row.
func appendGetNeighbor(b []byte, r Neighbor, seq uint32) []byte {
	start := len(b)
	b = appendHeader(b, unix.RTM_GETNEIGH, unix.NLM_F_REQUEST, seq)
	b = append(b, r.Family, 0, 0, 0)
	b = native.AppendUint32(b, uint32(r.Index))
	b = native.AppendUint16(b, 0)
	b = append(b, r.Flags, 0)
	if r.Family == unix.AF_BRIDGE {
		b = appendAttribute(b, unix.NDA_LLADDR, r.MAC[:])
	} else {
		b = appendAddrAttribute(b, unix.NDA_DST, r.Addr)
	}
	return finish(b, start)
}

// String names the row for errors and logs.
func (op NeighborOp) String() string {
	if op.Family == unix.AF_BRIDGE {
		return fmt.Sprintf("%s fdb %s dst %s on link %d", op.Verb, op.MAC, op.Addr, op.Index)
	}
	return fmt.Sprintf("%s neighbour %s lladdr %s on link %d", op.Verb, op.Addr, op.MAC, op.Index)
}
