package socket

import (
	"encoding/binary"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/flood"
)

const (
	atOnce      = 64   // messages given to the kernel in one call,
	copiesOnce  = 1024 // with so many copies: see atOnceSyscall
	maxSegments = 64   // UDP_MAX_SEGMENTS; 128 since Linux 6.9
	maxDatagram = 65535 - 60 - 8
	maxFlows    = 64 // sockets kept for runs

	sizeIPv4 = 20
	sizeIPv6 = 40
	sizeUDP  = 8
)

// Sender makes copies and waits for a wire that is slow. It belongs to one goroutine, but
// for Deliver.
type Sender struct {
	inNamespace func(func() error) error
	buffer      int
	segments    bool

	raw, doubtful [2]*way // for IPv4 and for IPv6; nil when the host has none
	flows         map[flow]*way
	recent        []flow // of flows, the least recent first
	last          *way   // used before

	outs         atomic.Pointer[map[string]int] // interfaces by which groups are reached
	out          int                            // that of the packets being sent; 0: there is none
	doubts       *doubts
	stalls       int          // of all ways
	sure, unsure []netip.Addr // who gets the packets being sent

	msgs    [atOnce]mmsghdr
	iovs    [atOnce][2]unix.Iovec
	headers [atOnce][sizeIPv6 + sizeUDP]byte
	names4  [atOnce]unix.RawSockaddrInet4
	names6  [atOnce]unix.RawSockaddrInet6
	joined  []byte // the payloads of a run
	run     unix.Iovec
	control []byte    // UDP_SEGMENT
	groups  [2][]byte // where to deliver to a group, for IPv4 and for IPv6
}

type flow struct {
	source netip.Addr
	port   uint16
}

// NewSender opens the sockets that single packets need.
func NewSender(o flood.Options) (*Sender, error) {
	s := &Sender{inNamespace: namespaceOf(o), buffer: o.SendBuffer, flows: map[flow]*way{}, joined: make([]byte, 0, maxDatagram)}
	if s.buffer == 0 {
		s.buffer = 64 << 10
	}
	for i := range s.raw {
		for _, w := range []**way{&s.raw[i], &s.doubtful[i]} {
			var err error
			*w, err = rawWay(s.inNamespace, &s.stalls, i == 1, s.buffer)
			switch {
			case i == 1 && errors.Is(err, unix.EAFNOSUPPORT):
				*w = nil // a host without IPv6 has no VTEPs that need it
			case err != nil:
				return nil, errors.Join(err, s.Close())
			}
		}
		if s.doubtful[i] != nil {
			s.doubtful[i].doubtful = true
		}
	}
	s.doubts = newDoubts(s.inNamespace)
	s.segments = canSegment(s.inNamespace) == nil
	s.control = controlMessage(unix.SOL_UDP, unix.UDP_SEGMENT, 2)
	s.groups[0] = controlMessage(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
	s.groups[1] = controlMessage(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	return s, nil
}

func controlMessage(level, typ int32, size int) []byte {
	b := make([]byte, unix.CmsgSpace(size))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(size))
	return b
}

// Deliver sets the interfaces by which groups are reached, by the name that networks have
// for them ([flood.Network.Out]).
func (s *Sender) Deliver(outs map[string]int) { s.outs.Store(&outs) }

// delivery is the control message for a packet to a group; nil when there is no interface.
func (s *Sender) delivery(six int) []byte {
	if s.out == 0 {
		return nil
	}
	b := s.groups[six]
	if six == 0 {
		(*unix.Inet4Pktinfo)(unsafe.Pointer(&b[unix.CmsgLen(0)])).Ifindex = int32(s.out)
	} else {
		(*unix.Inet6Pktinfo)(unsafe.Pointer(&b[unix.CmsgLen(0)])).Ifindex = uint32(s.out)
	}
	return b
}

// Close closes the sockets. What was given to the wire still leaves.
func (s *Sender) Close() error {
	var err error
	for _, w := range []*way{s.raw[0], s.raw[1], s.doubtful[0], s.doubtful[1]} {
		if w != nil {
			err = errors.Join(err, w.close())
		}
	}
	for _, w := range s.flows {
		err = errors.Join(err, w.close())
	}
	if s.doubts != nil {
		s.doubts.close()
	}
	return err
}

// Send sends packets of one flow, which have the same verdict and one size, but for the
// last, which may be smaller. What cannot be sent is counted; the error says more.
func (s *Sender) Send(packets []flood.Packet, v *flood.Verdict) error {
	failed := s.doubts.renew(time.Now())
	stalls := s.stalls
	s.out = 0
	if outs := s.outs.Load(); outs != nil {
		s.out = (*outs)[v.Network.Out]
	}
	to := s.receivers(v)
	rest := packets
	for s.segments && len(rest) > 1 {
		n := min(len(rest), maxSegments, maxDatagram/len(rest[0].Payload))
		w := s.flow(&rest[0])
		if n < 2 || w == nil {
			break
		}
		failed = errors.Join(failed, s.sendRun(w, rest[:n], to, v.Tally))
		rest = rest[n:]
	}
	for i := range rest {
		failed = errors.Join(failed, s.sendOne(s.rawFor(&rest[i]), &rest[i], to, v.Tally))
	}
	if len(s.unsure) > 0 {
		for i := range packets {
			w := s.doubtful[familyOf(&packets[i])]
			failed = errors.Join(failed, s.sendOne(w, &packets[i], slices.Values(s.unsure), v.Tally))
		}
	}
	if s.stalls != stalls {
		failed = errors.Join(failed, s.doubts.ask(time.Now()))
	}
	return failed
}

// receivers are those of a verdict whose next hop answers, or may. The others go into
// unsure.
func (s *Sender) receivers(v *flood.Verdict) iter.Seq[netip.Addr] {
	everyone := func(yield func(netip.Addr) bool) {
		for _, part := range [][]netip.Addr{v.Before, v.After} {
			for _, a := range part {
				if !yield(a) {
					return
				}
			}
		}
	}
	s.sure, s.unsure = s.sure[:0], s.unsure[:0]
	if len(s.doubts.silent) == 0 {
		return everyone
	}
	for a := range everyone {
		if s.doubts.about(a) {
			s.unsure = append(s.unsure, a)
		} else {
			s.sure = append(s.sure, a)
		}
	}
	return slices.Values(s.sure)
}

func familyOf(p *flood.Packet) int {
	if p.Source.Is6() {
		return 1
	}
	return 0
}

func (s *Sender) rawFor(p *flood.Packet) *way { return s.raw[familyOf(p)] }

// turn makes w the socket in use. The one before may keep half of what may be under way:
// the buffers of all sockets together must not exceed the egress queue.
func (s *Sender) turn(w *way) error {
	if w.doubtful || s.last == w {
		return nil
	}
	before := s.last
	s.last = w
	if before == nil || before.broken() {
		return nil
	}
	return before.wait(s.buffer)
}

// sendOne sends one packet to each receiver, with a header of its own.
func (s *Sender) sendOne(w *way, p *flood.Packet, to iter.Seq[netip.Addr], tally *flood.Tally) error {
	header := [2]int{sizeIPv4 + sizeUDP, sizeIPv6 + sizeUDP}[familyOf(p)]
	failed := s.turn(w)
	n := 0
	flush := func() {
		lost := uint64(0)
		err := w.send(s.msgs[:n], func(_ int, errno unix.Errno) {
			lost++
			tally.Drop(lossOf(errno), 1)
		})
		tally.Copies.Add(uint64(n) - lost)
		failed = errors.Join(failed, err)
		n = 0
	}
	for a := range to {
		var control []byte
		if a.IsMulticast() {
			if control = s.delivery(familyOf(p)); control == nil {
				tally.Drop(flood.NoRoute, 1)
				continue
			}
		}
		h := s.headers[n][:header]
		writeHeader(h, p, a)
		s.iovs[n][0].Base = &h[0]
		s.iovs[n][0].SetLen(header)
		s.iovs[n][1].Base = &p.Payload[0]
		s.iovs[n][1].SetLen(len(p.Payload))
		s.address(n, a, 0)
		s.msgs[n].hdr.Iov = &s.iovs[n][0]
		s.msgs[n].hdr.SetIovlen(2)
		s.msgs[n].hdr.Control = unsafe.SliceData(control)
		s.msgs[n].hdr.SetControllen(len(control))
		if n++; n == atOnce {
			flush()
		}
	}
	flush()
	return failed
}

// sendRun sends a run to each receiver, as one datagram that the kernel or the
// device takes apart.
func (s *Sender) sendRun(w *way, packets []flood.Packet, receivers iter.Seq[netip.Addr], tally *flood.Tally) error {
	failed := s.turn(w)
	// In one piece, it is less work for the kernel, which reads it for each receiver.
	s.joined = s.joined[:0]
	for i := range packets {
		s.joined = append(s.joined, packets[i].Payload...)
	}
	s.run.Base = &s.joined[0]
	s.run.SetLen(len(s.joined))
	binary.NativeEndian.PutUint16(s.control[unix.CmsgLen(0):], uint16(len(packets[0].Payload)))
	most := min(atOnce, copiesOnce/len(packets))
	var to [atOnce]netip.Addr
	var refused []netip.Addr
	n := 0
	flush := func() {
		lost := 0
		err := w.send(s.msgs[:n], func(i int, errno unix.Errno) {
			lost++
			if errno == unix.ENOBUFS {
				tally.Drop(flood.EgressFull, uint64(len(packets)))
				return
			}
			refused = append(refused, to[i])
		})
		tally.Copies.Add(uint64(n-lost) * uint64(len(packets)))
		failed = errors.Join(failed, err)
		n = 0
	}
	for a := range receivers {
		if a.IsMulticast() { // a single receiver: there is nothing to win
			refused = append(refused, a)
			continue
		}
		to[n] = a
		s.address(n, a, packets[0].Port)
		s.msgs[n].hdr.Iov = &s.run
		s.msgs[n].hdr.SetIovlen(1)
		s.msgs[n].hdr.Control = &s.control[0]
		s.msgs[n].hdr.SetControllen(len(s.control))
		if n++; n == most {
			flush()
		}
	}
	flush()
	// The kernel cannot segment on this way, or there is none: one by one tells. So do
	// packets to a group.
	for i := 0; i < len(packets) && len(refused) > 0; i++ {
		failed = errors.Join(failed, s.sendOne(s.rawFor(&packets[i]), &packets[i], slices.Values(refused), tally))
	}
	return failed
}

func (s *Sender) address(i int, a netip.Addr, port uint16) {
	if a.Is4() {
		s.names4[i] = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: htons(port), Addr: a.As4()}
		s.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&s.names4[i]))
		s.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet4
		return
	}
	// A raw socket wants no port in the address (rawv6_sendmsg).
	s.names6[i] = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: htons(port), Addr: a.As16()}
	s.msgs[i].hdr.Name = (*byte)(unsafe.Pointer(&s.names6[i]))
	s.msgs[i].hdr.Namelen = unix.SizeofSockaddrInet6
}

// flow gives the socket for runs of a packet's flow, nil when there cannot be one: its
// port is taken on this host, or it is a VXLAN port, which nobody but the kernel may take.
func (s *Sender) flow(p *flood.Packet) *way {
	f := flow{p.Source, p.SourcePort}
	if w := s.flows[f]; w != nil && !w.broken() {
		s.touch(f)
		return w
	}
	s.forget(f)
	if f.port == p.Port || f.port == flood.Port || f.port == 0 {
		return nil
	}
	w, err := flowWay(s.inNamespace, &s.stalls, f.source, f.port, s.buffer)
	if err != nil {
		return nil
	}
	if len(s.recent) == maxFlows {
		s.forget(s.recent[0])
	}
	s.flows[f] = w
	s.recent = append(s.recent, f)
	return w
}

func (s *Sender) forget(f flow) {
	w := s.flows[f]
	if w == nil {
		return
	}
	if s.last == w {
		s.last = nil
	}
	unix.Close(w.fd)
	delete(s.flows, f)
	s.recent = slices.DeleteFunc(s.recent, func(r flow) bool { return r == f })
}

func (s *Sender) touch(f flow) {
	if s.recent[len(s.recent)-1] != f {
		s.recent = append(slices.DeleteFunc(s.recent, func(r flow) bool { return r == f }), f)
	}
}

// writeHeader writes the IP and UDP header of a copy. The kernel fills in the IPv4
// identification and header checksum (raw(7)).
func writeHeader(b []byte, p *flood.Packet, to netip.Addr) {
	length := sizeUDP + len(p.Payload)
	var udp []byte
	if p.Source.Is4() {
		b[0], b[1] = 0x45, flood.Mark<<2
		binary.BigEndian.PutUint16(b[2:], uint16(sizeIPv4+length))
		binary.BigEndian.PutUint64(b[4:], 0)
		b[8], b[9] = flood.TTL, unix.IPPROTO_UDP
		from, to := p.Source.As4(), to.As4()
		copy(b[12:], from[:])
		copy(b[16:], to[:])
		udp = b[sizeIPv4:]
	} else {
		binary.BigEndian.PutUint32(b, 6<<28|flood.Mark<<2<<20)
		binary.BigEndian.PutUint16(b[4:], uint16(length))
		b[6], b[7] = unix.IPPROTO_UDP, flood.TTL
		from, to := p.Source.As16(), to.As16()
		copy(b[8:], from[:])
		copy(b[24:], to[:])
		udp = b[sizeIPv6:]
	}
	binary.BigEndian.PutUint16(udp, p.SourcePort)
	binary.BigEndian.PutUint16(udp[2:], p.Port)
	binary.BigEndian.PutUint16(udp[4:], uint16(length))
	var checksum uint16
	if p.Checksummed {
		checksum = flood.UDPChecksum(p.Source, to, p.SourcePort, p.Port, p.Sum, len(p.Payload))
	}
	binary.BigEndian.PutUint16(udp[6:], checksum)
}
