package bfd

import "time"

// slowInterval is the least interval while a session is not Up (RFC 5880 §6.8.3).
const slowInterval = time.Second

// Timers are what a session is configured with.
type Timers struct {
	Interval   time.Duration // at which we want to send, and can receive
	Multiplier uint8         // packets in a row that may be lost, plus one
}

// Change is a session that went to another state.
type Change struct {
	From, To State
	Diag     Diag // why, on our side
	// Remote is the state that the neighbour announced; AdminDown means that it takes its session down on
	// purpose, and says nothing of the path (RFC 5882 §3.2).
	Remote     State
	RemoteDiag Diag
	// Independent is the neighbour's C bit in the last packet that was heard.
	Independent bool
	// Silence is how long nothing had been heard when the detection time was judged.
	Silence time.Duration
}

// Step is what follows from an event: packets to send now, in order, and the change of state, if any.
// Both are valid until the next call.
type Step struct {
	Send   []Packet
	Change *Change
}

// Machine is one session (RFC 5880 §6.8), always in the active role. Every method that takes a time wants one that
// does not run backwards. Not safe for concurrent use.
type Machine struct {
	timers Timers
	jitter func() float64 // in [0, 1)

	state, remoteState   State
	diag, remoteDiag     Diag
	discr, remoteDiscr   uint32
	remoteMinRx          time.Duration
	remoteDesiredTx      time.Duration
	remoteMultiplier     uint8
	remoteDemand         bool
	remoteIndependent    bool
	desiredTx            time.Duration // bfd.DesiredMinTxInterval
	activeTx             time.Duration // what paces us: the old desiredTx until a poll has ended
	requiredRx, activeRx time.Duration // the same for reception
	poll                 bool          // a Poll Sequence is under way
	pollAgain            bool          // what it announced is old by now
	heard                time.Time     // last packet; zero once a detection time has passed without one
	sent, next           time.Time     // last and next periodic packet
	interval             time.Duration // that next was computed from
	step                 Step
}

// NewMachine makes a session in state Down, which sends its first packet at once. discr is our
// discriminator, unique and not 0. jitter gives random numbers in [0, 1).
func NewMachine(discr uint32, t Timers, jitter func() float64, now time.Time) *Machine {
	m := &Machine{
		timers: t, jitter: jitter, state: Down, remoteState: Down, discr: discr, next: now,
		remoteMinRx: time.Microsecond, // RFC 5880 §6.8.1
		requiredRx:  t.Interval, activeRx: t.Interval,
	}
	m.slowDown()
	return m
}

// slowDown sets the pace of a session that is not Up. The change of the interval holds at once:
// §6.8.3 only delays it while Up.
func (m *Machine) slowDown() {
	m.desiredTx = max(m.timers.Interval, slowInterval)
	m.activeTx, m.activeRx = m.desiredTx, m.requiredRx
	m.poll, m.pollAgain = false, false
}

// State is the session's.
func (m *Machine) State() State { return m.state }

// Interval is the negotiated time between our packets, before jitter (RFC 5880 §6.8.2, §6.8.7).
func (m *Machine) Interval() time.Duration { return max(m.activeTx, m.remoteMinRx) }

// DetectionTime is how long nothing may be heard (RFC 5880 §6.8.4); 0 before the first packet.
func (m *Machine) DetectionTime() time.Duration {
	return time.Duration(m.remoteMultiplier) * max(m.activeRx, m.remoteDesiredTx)
}

// Next is when [Machine.Tick] wants to be called.
func (m *Machine) Next() time.Time {
	next := m.next
	if d, ok := m.deadline(); ok && (!m.sends() || d.Before(next)) {
		return d
	}
	if !m.sends() {
		return time.Time{}
	}
	return next
}

// deadline is when the detection time is over.
func (m *Machine) deadline() (time.Time, bool) {
	return m.heard.Add(m.DetectionTime()), !m.heard.IsZero()
}

// sends reports whether periodic packets go out (RFC 5880 §6.8.7).
func (m *Machine) sends() bool {
	if m.remoteMinRx == 0 {
		return false
	}
	return !m.remoteDemand || m.state != Up || m.remoteState != Up || m.poll
}

// Tick judges the detection time and sends what is due. seen is the time up to which all packets that
// came have been given to [Machine.Receive]; it is now, unless reading lags behind.
func (m *Machine) Tick(now, seen time.Time) Step {
	m.begin()
	if d, ok := m.deadline(); ok && !seen.Before(d) {
		silence := seen.Sub(m.heard)
		m.heard, m.remoteDiscr = time.Time{}, 0 // §6.8.1
		if m.state == Init || m.state == Up {
			m.remoteState = Down
			m.enter(Down, DiagExpired, now)
			m.step.Change.Silence = silence
		}
	}
	if m.sends() && !now.Before(m.next) {
		m.send(now)
	}
	return m.step
}

// Receive takes a packet of the session's neighbour, that arrived at a time not after now (RFC 5880 §6.8.6).
func (m *Machine) Receive(p Packet, arrived, now time.Time) Step {
	m.begin()
	if arrived.After(m.heard) {
		m.heard = arrived
	}
	m.remoteDiscr, m.remoteState, m.remoteDiag = p.My, p.State, p.Diag
	m.remoteDemand, m.remoteIndependent = p.Demand, p.Independent
	m.remoteMinRx, m.remoteDesiredTx, m.remoteMultiplier = p.RequiredRx, p.DesiredTx, p.Multiplier
	if p.Final && m.poll {
		m.endPoll()
	}
	if m.state == AdminDown {
		return m.step
	}
	m.transit(p.State, now)
	m.pace(now)
	if p.Poll {
		m.step.Send = append(m.step.Send, m.packet(true))
	}
	return m.step
}

// transit is the table of RFC 5880 §6.8.6.
//
//	ours \ theirs   AdminDown   Down    Init    Up
//	Down                –       Init    Up      –
//	Init               Down      –      Up      Up
//	Up                 Down     Down    –       –
func (m *Machine) transit(theirs State, now time.Time) {
	switch {
	case theirs == AdminDown && m.state != Down:
		m.enter(Down, DiagNeighborDown, now)
	case m.state == Down && theirs == Down:
		m.enter(Init, m.diag, now)
	case m.state == Down && theirs == Init, m.state == Init && (theirs == Init || theirs == Up):
		m.enter(Up, DiagNone, now)
	case m.state == Up && theirs == Down:
		m.enter(Down, DiagNeighborDown, now)
	}
}

// enter changes the state and tells the neighbour at once (§6.8.7: a changed packet need not wait).
func (m *Machine) enter(to State, d Diag, now time.Time) {
	m.step.Change = &Change{
		From: m.state, To: to, Diag: d, Remote: m.remoteState, RemoteDiag: m.remoteDiag, Independent: m.remoteIndependent,
	}
	m.state, m.diag = to, d
	if to == Up {
		m.desiredTx = m.timers.Interval
		m.activeTx = m.desiredTx
		m.startPoll()
	} else {
		m.slowDown()
	}
	m.send(now)
}

// Configure changes the timers without a change of state: while Up by a Poll Sequence (RFC 5880 §6.8.3).
func (m *Machine) Configure(t Timers, now time.Time) Step {
	m.begin()
	if t == m.timers {
		return m.step
	}
	m.timers, m.requiredRx = t, t.Interval
	if m.state != Up {
		m.slowDown()
		m.pace(now)
		return m.step
	}
	m.desiredTx = t.Interval
	// An interval that grows holds for our sending, and one that shrinks for detection, only when
	// the neighbour has confirmed that it knows.
	m.activeTx = min(m.activeTx, m.desiredTx)
	m.activeRx = max(m.activeRx, m.requiredRx)
	m.startPoll()
	m.send(now)
	return m.step
}

// Disable takes the session down on purpose and tells the neighbour (RFC 5880 §6.8.16). It goes on
// saying so as long as Tick is called: for a detection time it should be.
func (m *Machine) Disable(now time.Time) Step {
	m.begin()
	if m.state != AdminDown {
		m.enter(AdminDown, DiagAdministrative, now)
	}
	return m.step
}

// startPoll makes packets carry P until an F comes. What a poll under way announced is then old: its F
// starts another one.
func (m *Machine) startPoll() {
	m.pollAgain = m.poll
	m.poll = true
}

func (m *Machine) endPoll() {
	if m.pollAgain {
		m.pollAgain = false
		return
	}
	m.poll = false
	m.activeTx, m.activeRx = m.desiredTx, m.requiredRx
}

// send emits a periodic packet and sets the time of the next.
func (m *Machine) send(now time.Time) {
	m.sent, m.interval = now, 0
	m.step.Send = append(m.step.Send, m.packet(false))
	m.pace(now)
}

// pace sets the next packet's time when the interval is another than before. It counts
// from the last packet: who is sent a packet must not be able to put ours off.
func (m *Machine) pace(now time.Time) {
	i := m.Interval()
	if i == m.interval || m.sent.IsZero() {
		return
	}
	m.interval = i
	m.next = m.sent.Add(m.jittered(i))
	if m.next.Before(now) {
		m.next = now
	}
}

// jittered is 75 to 100 percent of d; with a multiplier of 1 at most 90 (RFC 5880 §6.8.7).
func (m *Machine) jittered(d time.Duration) time.Duration {
	span := 0.25
	if m.timers.Multiplier == 1 {
		span = 0.15
	}
	return d*3/4 + time.Duration(float64(d)*span*m.jitter())
}

// packet is what there is to say now (RFC 5880 §6.8.7).
func (m *Machine) packet(final bool) Packet {
	return Packet{
		State: m.state, Diag: m.diag, Poll: m.poll && !final, Final: final, Multiplier: m.timers.Multiplier,
		My: m.discr, Your: m.remoteDiscr, DesiredTx: m.desiredTx, RequiredRx: m.requiredRx,
	}
}

func (m *Machine) begin() { m.step = Step{Send: m.step.Send[:0]} }
