package speaker_test

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// FuzzSession gives a live reflector arbitrary octets in an established session: as a stream, or as
// the body of an UPDATE, which gets deeper. It must live, keep its other session, and pass on the
// adversary's good route from before.
func FuzzSession(f *testing.F) {
	var g []evpn.Route
	for n := range uint32(4) {
		g = append(g, speakertest.MACRoute(vtepA, 100, 1000+n, nil))
	}
	for _, c := range speakertest.UpdateAttacks {
		msg := c.Message(f, g)
		f.Add(false, msg)
		f.Add(true, msg[wire.HeaderLen:])
	}
	f.Add(false, speakertest.Hex(f, speakertest.Marker, "0012 02"))
	f.Add(false, speakertest.Hex(f, speakertest.Marker, "ffff 02"))
	f.Add(false, wire.Notification(wire.CodeCease, wire.SubReset, nil))
	f.Add(false, wire.RouteRefresh())
	a := newArena(f, true)
	f.Fuzz(func(t *testing.T, isUpdate bool, b []byte) {
		if len(b) > 3*wire.MaxMessage {
			return
		}
		if isUpdate && len(b) <= wire.MaxMessage-wire.HeaderLen {
			b = wire.Message(wire.TypeUpdate, b)
		}
		o := ibgp(idA)
		o.Silent = true
		p := speakertest.Dial(t, peerA, a.At, o)
		p.Open(t)
		p.Send(t, wire.Keepalive())
		typ, _ := p.Read(t)
		require.EqualValues(t, wire.TypeKeepalive, typ)
		a.AwaitState(t, peerA, "established")
		r := speakertest.MACRoute(vtepA, 100, 1, nil)
		p.Announce(t, r)
		a.client.Await(t, "the good route", func(h *speakertest.Heard) bool { _, ok := h.Routes[r.Key]; return ok })
		_, _ = p.Conn.Write(b) // the session may be over before all of it is out
		_ = p.Conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, p.Conn)
		p.Close()
		a.AwaitState(t, peerA, "active")
		a.client.Await(t, "the withdrawal", func(h *speakertest.Heard) bool { return len(h.Routes) == 0 })
		a.unharmed(t)
		a.client.See(func(h *speakertest.Heard) { h.Order, h.Raw = nil, nil })
	})
}
