package ebpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"iter"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/cilium/ebpf/perf"

	"github.com/vtepbgp/vtepbgp/flood"
	"github.com/vtepbgp/vtepbgp/flood/socket"
)

const (
	handoverSent, handoverUndecided, handoverPartial, handoverLong, handoverTail = 1, 2, 4, 8, 16

	sizeHandover             = int(unsafe.Sizeof(programHandover{}))
	sizeEthernet             = 14
	checksumIPv4             = sizeEthernet + 20 + 6
	checksumIPv6             = sizeEthernet + 40 + 6
	etherIPv4, etherIPv6     = 0x0800, 0x86dd
	leastSample, mostSamples = 256 << 10, 4 << 20
	maxSample                = 65500
)

// atOnceHanded is how many packets that were handed over are sent together at most.
const atOnceHanded = 64

// finish sends what the program hands over, until the reader is closed or flushed.
func (e *Engine) finish() {
	defer close(e.finished)
	f := newFinisher(e)
	for f.next() {
	}
}

// finisher sends what the program hands over.
type finisher struct {
	*Engine
	records [atOnceHanded]perf.Record // what runs refer to until they are sent
	waiting int                       // of these
	runs    socket.Runs
	taken   uint64         // packets, ever
	tails   map[int][]byte // by CPU: the end of the packet that comes next from there
}

func newFinisher(e *Engine) *finisher { return &finisher{Engine: e, tails: map[int][]byte{}} }

// next reads a record, and sends what has come together when there is no more. False: there will be none.
func (f *finisher) next() bool {
	record := &f.records[f.waiting]
	err := f.reader.ReadInto(record)
	switch {
	case errors.Is(err, os.ErrClosed), errors.Is(err, perf.ErrFlushed):
		return false
	case err != nil:
		f.log.WithError(err).Warn("cannot read packets that the program hands over")
		return true
	case len(record.RawSample) < sizeHandover: // a report of losses, which the program has counted
	case f.take(record.CPU, record.RawSample):
		f.taken++
		f.waiting++
	}
	if record.Remaining > 0 && f.waiting < atOnceHanded {
		return true
	}
	if err := f.runs.Send(f.sender); err != nil {
		f.log.WithError(err).Warn("cannot send copies")
	}
	f.waiting = 0
	if err := f.goOn(); err != nil {
		f.log.WithError(err).Warn("cannot tell the program to go on")
	}
	return true
}

// goOn has the program copy again when all has been sent, also what other CPUs have handed over.
func (f *finisher) goOn() error {
	var handed uint64
	if err := f.objects.Handed.Get(&handed); err != nil || handed != f.taken {
		return err
	}
	return f.objects.Congested.Set(uint32(0))
}

// take adds what was handed over to the runs. False: it is not a packet yet.
func (f *finisher) take(cpu int, sample []byte) bool {
	h := programHandover{
		Length: binary.NativeEndian.Uint32(sample), Generation: binary.NativeEndian.Uint32(sample[4:]), From: binary.NativeEndian.Uint32(sample[8:]),
		Segment: binary.NativeEndian.Uint16(sample[12:]), Flags: binary.NativeEndian.Uint16(sample[14:]),
	}
	if h.Flags&handoverTail != 0 {
		f.tails[cpu] = bytes.Clone(sample[sizeHandover:][:min(int(h.Length), len(sample)-sizeHandover)])
		return false
	}
	frame := f.whole(cpu, sample[sizeHandover:])
	if int(h.Length) > len(frame) {
		return true
	}
	frame = frame[:h.Length]
	if h.Flags&handoverUndecided != 0 {
		f.judge(frame, &h)
		return true
	}
	l := f.lists.recent.find(h.Generation)
	if l == nil {
		f.decider.Load().Rest().Drop(flood.Overrun, 1) // it has waited for longer than we remember
		return true
	}
	for p, r := range parse(frame, &h) {
		if r != flood.Kept {
			// The program has parsed it: this is what only it could take apart.
			v := l.rest(int(h.From), p.Source)
			l.tally.Drop(flood.EgressFull, uint64(v.Copies()))
			continue
		}
		f.runs.Add(&p, uint64(h.Generation)<<32|uint64(h.From), func() flood.Verdict { return l.rest(int(h.From), p.Source) })
	}
	return true
}

// whole is a frame with its end, if that came before it.
func (f *finisher) whole(cpu int, frame []byte) []byte {
	tail := f.tails[cpu]
	if tail == nil || len(frame) < maxSample {
		return frame
	}
	delete(f.tails, cpu)
	return append(frame[:maxSample], tail...)
}

// rest is who gets a copy from us: the slow ones, and all from the first that the
// program did not come to.
func (l *list) rest(from int, source netip.Addr) flood.Verdict {
	v := flood.Verdict{Network: &l.network, Tally: l.tally, After: l.to[min(from, len(l.to)):]}
	for i, a := range l.slow {
		if l.slowAt[i] < from && a != source {
			v.Before = append(v.Before, a)
		}
	}
	for i, a := range v.After {
		if a == source {
			v.Before = append(v.Before, v.After[:i]...)
			v.After = v.After[i+1:]
			break
		}
	}
	return v
}

// judge decides about a packet that the program could not parse.
func (f *finisher) judge(frame []byte, h *programHandover) {
	d := f.decider.Load()
	sent := h.Flags&handoverSent != 0
	for p, r := range parse(frame, h) {
		if r != flood.Kept {
			d.Rest().Packets.Add(1)
			d.Rest().Drop(r, 1)
			continue
		}
		now := time.Since(f.born)
		v := d.Judge(&p, sent, now)
		v.Tally.Packets.Add(1)
		if v.Reason.Fit() && !sent {
			f.ears.Note(v.Network, &p, now)
		}
		if v.Reason == flood.Kept && !f.allows(v.Network) {
			v.Reason = flood.Limited
		}
		if v.Reason != flood.Kept {
			v.Tally.Drop(v.Reason, 1)
			continue
		}
		v.Tally.Relayed.Add(1)
		f.runs.Add(&p, 0, func() flood.Verdict { return v })
	}
}

// allows takes a token of a network from the bucket that the program takes from.
func (e *Engine) allows(n *flood.Network) bool {
	if n.Rate == 0 {
		return true
	}
	key := listKey{n.VNI, n.Listen}.bytes()
	allowed, _, err := e.objects.FloodTake.Test(append(make([]byte, sizeEthernet), key[:]...))
	if err != nil {
		e.log.WithError(err).Warn("cannot ask the program for the rate of a network")
	}
	return allowed == 1
}

// parse takes a frame apart.
func parse(frame []byte, h *programHandover) iter.Seq2[flood.Packet, flood.Reason] {
	size := int(h.Segment)
	trust := flood.Trust{Checked: size > 0}
	if size == 0 && h.Flags&handoverPartial != 0 {
		if trust.Partial = partialSum(frame); !trust.Partial {
			// It is within the frame, and the outer one is right for when it is there.
			flood.CompleteInner(frame[min(checksumAt(frame)+2, len(frame)):])
		}
	}
	return func(yield func(flood.Packet, flood.Reason) bool) {
		p, r := flood.ParseEthernet(frame, trust)
		if r != flood.Kept || size == 0 {
			yield(p, r)
			return
		}
		if h.Flags&handoverLong != 0 {
			parts, r := p.Split(size)
			if r != flood.Kept {
				yield(p, r)
			}
			for _, part := range parts {
				if !yield(part, flood.Kept) {
					return
				}
			}
			return
		}
		for at := 0; at < len(p.Payload); at += size {
			if !yield(p.Segment(at, min(at+size, len(p.Payload)))) {
				return
			}
		}
	}
}

// checksumAt is where the UDP checksum of a frame is, or behind its end.
func checksumAt(frame []byte) int {
	switch {
	case len(frame) <= sizeEthernet:
		return len(frame)
	case binary.BigEndian.Uint16(frame[12:]) == etherIPv6:
		return checksumIPv6
	}
	return sizeEthernet + int(frame[sizeEthernet]&0x0f)*4 + 6
}

// partialSum says that the UDP checksum field holds the sum of the pseudo header.
func partialSum(frame []byte) bool {
	at := checksumAt(frame)
	if len(frame) < max(at+2, sizeEthernet+20) {
		return false
	}
	addresses := frame[sizeEthernet+12 : sizeEthernet+20]
	if at == checksumIPv6 {
		addresses = frame[sizeEthernet+8 : sizeEthernet+40]
	}
	sum := uint32(17) + uint32(binary.BigEndian.Uint16(frame[at-2:]))
	for i := 0; i < len(addresses); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(addresses[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum) == binary.BigEndian.Uint16(frame[at:])
}
