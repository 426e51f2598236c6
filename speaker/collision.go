package speaker

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

// openWait is how long a connection may take to its OPEN. RFC 4271 §8.2.2 suggests four minutes; a connection that
// says nothing for one would only keep a better one away.
const openWait = time.Minute

// candidate is a connection that exchanges OPENs. At most one of them becomes the session.
type candidate struct {
	conn     net.Conn
	r        *bufio.Reader
	incoming bool
	open     wire.Open // the peer's
	opened   bool
}

// handshake sends our OPEN and reads the peer's.
func (c *candidate) handshake(cfg Config, n Neighbor, ours []byte) error {
	_ = c.conn.SetDeadline(time.Now().Add(openWait))
	if _, err := c.conn.Write(ours); err != nil {
		return fmt.Errorf("send OPEN: %w", err)
	}
	typ, msg, err := wire.ReadMessage(c.r, nil, wire.MaxMessage)
	if err != nil {
		return c.refuse(fmt.Errorf("read OPEN: %w", err))
	}
	switch typ {
	case wire.TypeOpen:
	case wire.TypeNotification:
		return fmt.Errorf("peer sent NOTIFICATION: %s", wire.ParseNotification(msg[wire.HeaderLen:]))
	default:
		return c.refuse(&wire.Error{Code: wire.CodeFSM, Subcode: 1, Detail: fmt.Sprintf("message type %d before OPEN", typ)})
	}
	open, err := wire.ParseOpen(msg[wire.HeaderLen:])
	if err == nil {
		err = checkOpen(open, cfg, n)
	}
	if err != nil {
		return c.refuse(err)
	}
	_ = c.conn.SetDeadline(time.Time{})
	c.open, c.opened = open, true
	return nil
}

// refuse sends the NOTIFICATION that err asks for, if it asks for one.
func (c *candidate) refuse(err error) error {
	var we *wire.Error
	if errors.As(err, &we) {
		_, _ = c.conn.Write(we.Notification())
		return fmt.Errorf("sent NOTIFICATION: %w", err)
	}
	return err
}

// reject closes a connection that lost, with Cease (RFC 4486).
func (c *candidate) reject(subcode uint8) {
	_ = c.conn.SetDeadline(time.Now().Add(time.Second))
	_, _ = c.conn.Write(wire.Notification(wire.CodeCease, subcode, nil))
	_ = c.conn.Close()
}

// checkOpen applies what RFC 4271 §6.2 says against the configuration.
func checkOpen(o wire.Open, cfg Config, n Neighbor) error {
	switch {
	case o.ASN != n.ASN:
		return &wire.Error{Code: wire.CodeOpen, Subcode: wire.SubBadPeerAS,
			Detail: fmt.Sprintf("peer has ASN %d, configured is %d", o.ASN, n.ASN)}
	case o.RouterID == cfg.RouterID && cfg.ibgp(n): // RFC 6286 §2.2: unique within an AS
		return &wire.Error{Code: wire.CodeOpen, Subcode: wire.SubBadIdentifier,
			Detail: fmt.Sprintf("peer has our own router ID %s", o.RouterID)}
	case !o.EVPN:
		return &wire.Error{Code: wire.CodeOpen, Subcode: wire.SubUnsupportedCapability,
			Data: []byte{wire.CapMultiProtocol, 4, 0, wire.AFIL2VPN, 0, wire.SAFIEVPN}, Detail: "peer does not speak L2VPN EVPN"}
	default:
		return nil
	}
}

// keepIncoming decides a collision by RFC 4271 §6.8 and RFC 6286 §2.3: the connection that the
// speaker with the higher BGP identifier made stays; with equal identifiers, the higher ASN.
func keepIncoming(cfg Config, peer wire.Open) bool {
	if c := cfg.RouterID.Compare(peer.RouterID); c != 0 {
		return c < 0
	}
	return cfg.ASN < peer.ASN
}

// wins reports whether c stays when it collides with o. Of two in the same direction the newer
// stays: the side that made both has given up the older one.
func (c *candidate) wins(o *candidate, cfg Config) bool {
	if c.incoming == o.incoming {
		return true
	}
	return c.incoming == keepIncoming(cfg, c.open)
}

// ourOpen rewrites GoBGP's OPEN: only capabilities that are true stay, and the bits of graceful restart
// say what is so. GoBGP would also announce extended next hop, its software version and
// the host's name, and sets F equal to R, whatever the truth (RFC 4724 §3).
func ourOpen(gobgp []byte, n Neighbor, restarting, forwarding bool) (wire.Open, error) {
	o, err := wire.ParseOpen(gobgp[wire.HeaderLen:])
	if err != nil {
		return wire.Open{}, fmt.Errorf("read gobgp's OPEN: %w", err)
	}
	o = only(o)
	if g := o.GracefulRestart; g != nil {
		g := *g
		g.Restarting, g.Forwarding = restarting, forwarding
		o = o.With(g.Capability())
		if n.LongLivedStaleTime > 0 {
			o = o.With(wire.LongLived{EVPN: true, Forwarding: forwarding, Time: n.LongLivedStaleTime}.Capability())
		}
	}
	return o, nil
}

// theirOpen is the peer's OPEN as GoBGP gets to see it. What it says of a restart is what was agreed,
// so that GoBGP keeps routes no shorter than we say; when they go for good, we tell it (see forgetStale).
func (s *session) theirOpen() wire.Open {
	o := only(s.peer)
	if o.GracefulRestart == nil {
		return o
	}
	stale, longLived := s.retention()
	g := wire.GracefulRestart{EVPN: s.graceful(), Time: stale}
	if longLived == 0 {
		g.Time = MaxGracefulRestartTime
	}
	o = o.With(g.Capability())
	if l := s.peer.LongLived; l != nil && l.EVPN {
		o = o.With(wire.LongLived{EVPN: true, Time: longLived}.Capability())
	}
	return o
}

// only leaves the capabilities that both GoBGP and we act on. The peer's OPEN is cut down in the same
// way before GoBGP sees it: ADD-PATH or another family cannot be negotiated behind our back.
func only(o wire.Open) wire.Open {
	kept := make([]wire.Capability, 0, len(o.Capabilities))
	for _, c := range o.Capabilities {
		switch c.Code {
		case wire.CapRouteRefresh, wire.CapFourOctetAS, wire.CapGracefulRestart:
			kept = append(kept, c)
		case wire.CapMultiProtocol:
			if string(c.Value) == string([]byte{0, wire.AFIL2VPN, 0, wire.SAFIEVPN}) {
				kept = append(kept, c)
			}
		}
	}
	o.Capabilities, o.LongLived = kept, nil
	return o
}
