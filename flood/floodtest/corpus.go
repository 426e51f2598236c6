package floodtest

import "net"

// Corpus is what fuzzing begins with: packets of both families that are copied, and one for
// each thing that can be wrong with one. Those that are for the host have its MAC.
func Corpus(host net.HardwareAddr) (frames [][]byte) {
	for _, f := range families() {
		s := &stage{family: f, mac: host}
		for _, size := range []int{18, 64, 1400} {
			for _, c := range []Checksum{Zero, Full, Partial} {
				frames = append(frames, s.packet(size, c).Bytes(), s.toService(size, c).Bytes())
			}
		}
		for _, bad := range badPackets(f) {
			for _, p := range []*Packet{s.packet(100, Full), s.toService(100, Full)} {
				bad.spoil(p)
				frames = append(frames, p.Bytes())
			}
		}
		for _, inner := range []Inner{{}, {Six: true}, {UDP: true}, {UDP: true, Six: true}} {
			inner.Data = InnerFrame(1, 200)
			p := s.packet(64, Full)
			p.Inner = inner.Bytes(true)
			frames = append(frames, p.Bytes())
		}
	}
	return frames
}
