//go:build lab

package lab_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netns"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/speakertest"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// The whole list of malformed input, against the real daemon: one process from start to end, no good
// route lost, not even for a moment.
func TestMalformed(t *testing.T) {
	t.Parallel()
	for name, transit := range map[string]bool{"leaf": false, "transit": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSiege(t, transit)
			from := s.namespace("peer")
			s.inSession(t, from)
			s.endSessions(t, from)
			s.unharmed(t)
		})
	}
}

// inSession sends what must not end the session, all in one.
func (s *siege) inSession(t *testing.T, from netns.NsHandle) {
	peer := siegePeer.String()
	p := s.session(t, from)
	lost := watchLosses(t, s.namespace(s.vtep))
	withdrawn, full := 0, 0
	for _, c := range speakertest.UpdateAttacks {
		before := s.neighbor(t, "target", peer).Drops
		var routes []evpn.Route
		for i := range 4 { // two are there before: an error must withdraw them; two come with it
			r := s.route()
			routes = append(routes, r)
			if i%2 == 0 {
				p.Announce(t, r)
			} else {
				delete(s.good, r.Key.MAC.String())
			}
		}
		eventually(t, convergence, c.Name+": rows before", s.whole)

		msg := c.Message(t, routes)
		switch c.Outcome {
		case speakertest.Kept:
			s.expect(routes...)
		case speakertest.Withdrawn, speakertest.Useless:
			for _, r := range routes {
				delete(s.good, r.Key.MAC.String())
			}
			withdrawn += 2
		case speakertest.Untouched:
		}
		if len(msg) == wire.MaxMessage {
			full++
			s.expect(speakertest.Fillers()...)
		}
		p.Send(t, msg)
		p.Announce(t, s.route()) // in order: when it is there, all before it has been handled
		eventually(t, convergence, c.Name+": rows after", s.whole)

		want := maps.Clone(before)
		for reason, n := range c.Drops {
			want[reason] += n
		}
		n := s.neighbor(t, "target", peer)
		assert.Equal(t, want, n.Drops, "%s: drops by reason", c.Name)
		require.Equal(t, "established", n.State, c.Name)
		require.Zero(t, n.Flaps, c.Name)
		s.unharmed(t)
	}
	require.Equal(t, 1, full, "UPDATEs of 4096 octets")
	p.See(func(h *speakertest.Heard) { assert.Nil(t, h.Notification) })
	lost.mu.Lock()
	defer lost.mu.Unlock()
	require.NoError(t, lost.err)
	require.Len(t, lost.macs, withdrawn, "the watch sees what is withdrawn")
	for mac := range s.good {
		require.NotContains(t, lost.macs, mac, "a good route was lost for a moment")
	}
	require.NotContains(t, lost.macs, zeroMAC)
	p.Close()
}

// endSessions sends what must end a session or keep it from coming up. Each takes the routes
// along, and with the next session all of them are back.
func (s *siege) endSessions(t *testing.T, from netns.NsHandle) {
	peer := siegePeer.String()
	flaps := func(n int) func() error {
		return func() error {
			if got := s.neighbor(t, "target", peer); got.Flaps != uint64(n) || got.State == "established" {
				return fmt.Errorf("%d flaps, %s; want %d", got.Flaps, got.State, n)
			}
			return nil
		}
	}
	eventually(t, convergence, "the first session's end", flaps(1))
	for _, c := range speakertest.OpenAttacks {
		n := c.Run(t, s.dial(t, from))
		assert.Equal(t, wire.ErrorText(c.Code, c.Sub), wire.ErrorText(n.Code, n.Subcode), c.Name)
	}
	eventually(t, convergence, "no flap without a session", flaps(1))
	for i, c := range speakertest.StreamAttacks {
		p := s.session(t, from)
		c.Send(t, p)
		if c.Code != 0 {
			n := p.AwaitNotification(t)
			assert.Equal(t, wire.ErrorText(c.Code, c.Sub), wire.ErrorText(n.Code, n.Subcode), c.Name)
		}
		eventually(t, convergence, c.Name+": the session's end", flaps(2+i))
		p.Close()
		s.unharmed(t)
	}
	s.session(t, from)
}
