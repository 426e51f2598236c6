package bfd_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/speaker/bfd"
)

var start = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

const (
	ms     = time.Millisecond
	ours   = 0x0a
	theirs = 0x0b
)

var fast = bfd.Timers{Interval: 100 * ms, Multiplier: 3}

func noJitter() float64 { return 0.999999 }

// from is a packet of the neighbour in a state.
func from(state bfd.State) bfd.Packet {
	p := bfd.Packet{State: state, Multiplier: 3, My: theirs, DesiredTx: time.Second, RequiredRx: 100 * ms, Your: ours}
	if state == bfd.Up {
		p.DesiredTx = 100 * ms
	}
	return p
}

// in brings a machine into a state.
func in(t *testing.T, state bfd.State) *bfd.Machine {
	t.Helper()
	m := bfd.NewMachine(ours, fast, noJitter, start)
	m.Tick(start, start)
	switch state {
	case bfd.AdminDown:
		m.Disable(start)
	case bfd.Init:
		m.Receive(from(bfd.Down), start, start)
	case bfd.Up:
		m.Receive(from(bfd.Init), start, start)
		m.Receive(final(bfd.Up), start, start)
	case bfd.Down:
	}
	require.Equal(t, state, m.State())
	return m
}

func final(state bfd.State) bfd.Packet {
	p := from(state)
	p.Final = true
	return p
}

// The table of RFC 5880 §6.8.6, and the expiry of §6.8.4, from every state.
func TestTransitions(t *testing.T) {
	t.Parallel()
	const expiry = bfd.State(9)
	for _, c := range []struct {
		state, heard, want bfd.State
		diag               bfd.Diag
	}{
		{bfd.Down, bfd.AdminDown, bfd.Down, bfd.DiagNone},
		{bfd.Down, bfd.Down, bfd.Init, bfd.DiagNone},
		{bfd.Down, bfd.Init, bfd.Up, bfd.DiagNone},
		{bfd.Down, bfd.Up, bfd.Down, bfd.DiagNone},
		{bfd.Down, expiry, bfd.Down, bfd.DiagNone},
		{bfd.Init, bfd.AdminDown, bfd.Down, bfd.DiagNeighborDown},
		{bfd.Init, bfd.Down, bfd.Init, bfd.DiagNone},
		{bfd.Init, bfd.Init, bfd.Up, bfd.DiagNone},
		{bfd.Init, bfd.Up, bfd.Up, bfd.DiagNone},
		{bfd.Init, expiry, bfd.Down, bfd.DiagExpired},
		{bfd.Up, bfd.AdminDown, bfd.Down, bfd.DiagNeighborDown},
		{bfd.Up, bfd.Down, bfd.Down, bfd.DiagNeighborDown},
		{bfd.Up, bfd.Init, bfd.Up, bfd.DiagNone},
		{bfd.Up, bfd.Up, bfd.Up, bfd.DiagNone},
		{bfd.Up, expiry, bfd.Down, bfd.DiagExpired},
		{bfd.AdminDown, bfd.AdminDown, bfd.AdminDown, bfd.DiagNone},
		{bfd.AdminDown, bfd.Down, bfd.AdminDown, bfd.DiagNone},
		{bfd.AdminDown, bfd.Init, bfd.AdminDown, bfd.DiagNone},
		{bfd.AdminDown, bfd.Up, bfd.AdminDown, bfd.DiagNone},
		{bfd.AdminDown, expiry, bfd.AdminDown, bfd.DiagNone},
	} {
		t.Run(fmt.Sprintf("%s hears %s", c.state, c.heard), func(t *testing.T) {
			t.Parallel()
			m := in(t, c.state)
			var step bfd.Step
			if c.heard == expiry {
				at := start.Add(time.Hour)
				step = m.Tick(at, at)
			} else {
				step = m.Receive(from(c.heard), start, start)
			}
			assert.Equal(t, c.want, m.State())
			if c.want == c.state {
				assert.Nil(t, step.Change)
				return
			}
			require.NotNil(t, step.Change)
			assert.Equal(t, c.state, step.Change.From)
			assert.Equal(t, c.want, step.Change.To)
			assert.Equal(t, c.diag, step.Change.Diag)
			require.NotEmpty(t, step.Send, "the neighbour hears of it at once")
			assert.Equal(t, c.want, step.Send[0].State)
			assert.Equal(t, c.diag, step.Send[0].Diag)
		})
	}
}

func TestRemoteAdminDownIsTold(t *testing.T) {
	t.Parallel()
	step := in(t, bfd.Up).Receive(from(bfd.AdminDown), start, start)
	require.NotNil(t, step.Change)
	assert.Equal(t, bfd.AdminDown, step.Change.Remote)
	assert.Equal(t, "neighbor took its session down on purpose", step.Change.Reason())
}

// §6.8.3: not below a second unless Up.
func TestSlowWhileNotUp(t *testing.T) {
	t.Parallel()
	m := bfd.NewMachine(ours, fast, noJitter, start)
	step := m.Tick(start, start)
	require.Len(t, step.Send, 1, "the first packet leaves at once")
	assert.Equal(t, bfd.Packet{State: bfd.Down, Multiplier: 3, My: ours, DesiredTx: time.Second, RequiredRx: 100 * ms}, step.Send[0])
	assert.Equal(t, time.Second, m.Interval())
	m.Receive(from(bfd.Down), start, start)
	assert.Equal(t, time.Second, m.Interval())
	step = m.Receive(from(bfd.Init), start, start)
	assert.Equal(t, 100*ms, m.Interval())
	require.Len(t, step.Send, 1)
	assert.Equal(t, 100*ms, step.Send[0].DesiredTx)
	assert.True(t, step.Send[0].Poll, "a changed interval is polled for")
	slow := bfd.NewMachine(ours, bfd.Timers{Interval: 5 * time.Second, Multiplier: 3}, noJitter, start)
	assert.Equal(t, 5*time.Second, slow.Interval())
}

// §6.8.4: the neighbour's multiplier, and the slower of what we can take and it wants to send.
func TestDetectionTime(t *testing.T) {
	t.Parallel()
	m := in(t, bfd.Up)
	p := from(bfd.Up)
	p.Multiplier, p.DesiredTx = 5, 40*ms
	m.Receive(p, start, start)
	assert.Equal(t, 500*ms, m.DetectionTime())
	p.DesiredTx = 250 * ms
	m.Receive(p, start, start)
	assert.Equal(t, 1250*ms, m.DetectionTime())
	almost := start.Add(1250*ms - 1)
	m.Tick(almost, almost)
	assert.Equal(t, bfd.Up, m.State())
	step := m.Tick(almost.Add(1), almost.Add(1))
	require.NotNil(t, step.Change)
	assert.Equal(t, "control detection time expired: nothing heard for 1.25s", step.Change.Reason())
	assert.Zero(t, step.Send[0].Your, "§6.8.1: the discriminator of one not heard is forgotten")
}

// A thread that was kept from running must not call its neighbour dead before it has read what came.
func TestLateReaderIsNoFailure(t *testing.T) {
	t.Parallel()
	m := in(t, bfd.Up)
	late := start.Add(time.Minute)
	m.Tick(late, start.Add(250*ms))
	assert.Equal(t, bfd.Up, m.State(), "not all is read yet")
	m.Receive(from(bfd.Up), late.Add(-50*ms), late)
	m.Tick(late, late)
	assert.Equal(t, bfd.Up, m.State())
	m.Receive(from(bfd.Up), start, late)
	m.Tick(late.Add(200*ms), late.Add(200*ms))
	assert.Equal(t, bfd.Up, m.State(), "an older packet read later does not turn time back")
	m.Tick(late.Add(250*ms), late.Add(250*ms))
	assert.Equal(t, bfd.Down, m.State(), "counted from arrival, not from reading")
}

// §6.8.7: jitter takes 0 to 25 percent, with a multiplier of 1 10 to 25.
func TestJitter(t *testing.T) {
	t.Parallel()
	for multiplier, most := range map[uint8]time.Duration{3: 1000 * ms, 1: 900 * ms} {
		r := rand.New(rand.NewPCG(1, 2))
		m := bfd.NewMachine(ours, bfd.Timers{Interval: time.Second, Multiplier: multiplier}, r.Float64, start)
		now, least, longest := start, time.Hour, time.Duration(0)
		for range 2000 {
			m.Tick(now, now)
			gap := m.Next().Sub(now)
			least, longest = min(least, gap), max(longest, gap)
			now = m.Next()
		}
		assert.GreaterOrEqual(t, least, 750*ms)
		assert.Less(t, least, 760*ms)
		assert.LessOrEqual(t, longest, most)
		assert.Greater(t, longest, most-10*ms)
	}
}

// §6.5, §6.8.6: an F at once for every P, in any state but AdminDown.
func TestFinalAnswersPoll(t *testing.T) {
	t.Parallel()
	for _, state := range []bfd.State{bfd.Down, bfd.Init, bfd.Up} {
		m := in(t, state)
		p := from(bfd.Up)
		p.Poll = true
		step := m.Receive(p, start, start)
		last := step.Send[len(step.Send)-1]
		assert.True(t, last.Final && !last.Poll, "%s", state)
	}
	p := from(bfd.Up)
	p.Poll = true
	assert.Empty(t, in(t, bfd.AdminDown).Receive(p, start, start).Send)
}

// §6.8.3: a longer interval holds for us only when the neighbour knows, a shorter one at once; for detection the
// other way round.
func TestConfigureByPoll(t *testing.T) {
	t.Parallel()
	m := in(t, bfd.Up)
	m.Receive(from(bfd.Up), start, start)
	step := m.Configure(bfd.Timers{Interval: 400 * ms, Multiplier: 3}, start)
	require.Len(t, step.Send, 1)
	assert.True(t, step.Send[0].Poll)
	assert.Equal(t, 400*ms, step.Send[0].DesiredTx)
	assert.Equal(t, 100*ms, m.Interval())
	assert.Equal(t, 1200*ms, m.DetectionTime())
	m.Receive(final(bfd.Up), start, start)
	assert.Equal(t, 400*ms, m.Interval())

	step = m.Configure(bfd.Timers{Interval: 50 * ms, Multiplier: 4}, start)
	assert.Equal(t, uint8(4), step.Send[0].Multiplier)
	assert.Equal(t, 100*ms, m.Interval(), "no faster than the neighbour can take")
	assert.Equal(t, 1200*ms, m.DetectionTime())
	m.Receive(from(bfd.Up), start, start)
	assert.Equal(t, 1200*ms, m.DetectionTime(), "a packet without F confirms nothing")
	step = m.Tick(start.Add(time.Second), start)
	require.Len(t, step.Send, 1)
	assert.True(t, step.Send[0].Poll, "P is repeated until F comes")
	m.Receive(final(bfd.Up), start, start)
	assert.Equal(t, 300*ms, m.DetectionTime())
	assert.False(t, m.Tick(start.Add(2*time.Second), start).Send[0].Poll)
	assert.Equal(t, bfd.Up, m.State())
}

// An F may answer what was announced before the last change: it takes another round.
func TestConfigureDuringPoll(t *testing.T) {
	t.Parallel()
	m := in(t, bfd.Up)
	m.Configure(bfd.Timers{Interval: 400 * ms, Multiplier: 3}, start)
	m.Configure(bfd.Timers{Interval: 800 * ms, Multiplier: 3}, start)
	m.Receive(final(bfd.Up), start, start)
	assert.Equal(t, 100*ms, m.Interval())
	m.Receive(final(bfd.Up), start, start)
	assert.Equal(t, 800*ms, m.Interval())
}

// §6.8.7: a neighbour in demand mode, or one that wants nothing, gets no periodic packets.
func TestSilenceOnDemand(t *testing.T) {
	t.Parallel()
	m := in(t, bfd.Up)
	p := from(bfd.Up)
	p.Demand = true
	m.Receive(p, start, start)
	assert.Empty(t, m.Tick(start.Add(200*ms), start).Send)
	assert.Equal(t, start.Add(300*ms), m.Next(), "detection goes on")
	p.Demand, p.RequiredRx = false, 0
	m.Receive(p, start, start)
	assert.Empty(t, m.Tick(start.Add(200*ms), start).Send)
	p.Poll = true
	assert.Len(t, m.Receive(p, start, start).Send, 1)
}

// The neighbour's wish to be sent less holds, and who sends us much cannot put our packets off.
func TestPace(t *testing.T) {
	t.Parallel()
	m := in(t, bfd.Up)
	p := from(bfd.Up)
	p.RequiredRx = 700 * ms
	m.Receive(p, start, start)
	assert.Equal(t, 700*ms, m.Interval())
	sent := 0
	for i := range 7000 {
		now := start.Add(time.Duration(i) * ms)
		sent += len(m.Receive(p, now, now).Send) + len(m.Tick(now, now).Send)
	}
	assert.Equal(t, 9, sent, "one each 700 ms")
}

// pair is two machines and the wire between them, in their own time.
type pair struct {
	now   time.Time
	m     [2]*bfd.Machine
	wire  []flight
	last  [2]time.Time
	lose  func(to int) bool
	delay func() time.Duration
	downs []string
}

type flight struct {
	at time.Time
	to int
	p  bfd.Packet
}

func (w *pair) follow(i int, s bfd.Step) {
	for _, p := range s.Send {
		if !w.lose(1 - i) {
			at := w.now.Add(w.delay())
			if at.Before(w.last[i]) {
				at = w.last[i] // one wire keeps the order
			}
			w.last[i] = at
			w.wire = append(w.wire, flight{at, 1 - i, p})
		}
	}
	if s.Change != nil && s.Change.From == bfd.Up {
		w.downs = append(w.downs, fmt.Sprintf("%s: %d: %s", w.now.Sub(start), i, s.Change.Reason()))
	}
}

// run lets time pass.
func (w *pair) run(span time.Duration) {
	end := w.now.Add(span)
	for {
		next, what := end, -1
		for i, m := range w.m {
			if n := m.Next(); !n.IsZero() && n.Before(next) {
				next, what = n, i
			}
		}
		for i, f := range w.wire {
			if !f.at.After(next) && (what < 2 || f.at.Before(w.wire[what-2].at)) {
				next, what = f.at, i+2
			}
		}
		if next.After(w.now) {
			w.now = next
		}
		switch {
		case what < 0:
			return
		case what < 2:
			w.follow(what, w.m[what].Tick(w.now, w.now))
		default:
			f := w.wire[what-2]
			w.wire = append(w.wire[:what-2], w.wire[what-1:]...)
			w.follow(f.to, w.m[f.to].Receive(f.p, w.now, w.now))
		}
	}
}

func newPair(r *rand.Rand, a, b bfd.Timers) *pair {
	return &pair{
		now: start, m: [2]*bfd.Machine{bfd.NewMachine(ours, a, r.Float64, start), bfd.NewMachine(theirs, b, r.Float64, start)},
		lose: func(int) bool { return false }, delay: func() time.Duration { return time.Duration(r.IntN(3000)) * time.Microsecond },
	}
}

// Two machines with any timers come up, stay up under any change of timers and under the loss that their multipliers allow, notice
// silence within the detection time that they show, and come up again.
func TestPairs(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 5880))
		timers := func() bfd.Timers {
			return bfd.Timers{Interval: time.Duration(20+r.IntN(400)) * ms, Multiplier: uint8(2 + r.IntN(4))}
		}
		w := newPair(r, timers(), timers())
		w.run(4 * time.Second)
		for i, m := range w.m {
			require.Equal(t, bfd.Up, m.State(), "seed %d machine %d", seed, i)
		}
		for range 5 {
			i := r.IntN(2)
			w.follow(i, w.m[i].Configure(timers(), w.now))
			w.run(time.Duration(r.IntN(3000)) * ms)
		}
		w.run(3 * time.Second)
		require.Empty(t, w.downs, "seed %d", seed)

		// One packet of two is within what every multiplier allows, as long as no two in a row are lost.
		lost := [2]bool{}
		w.lose = func(to int) bool { lost[to] = !lost[to] && r.IntN(2) == 0; return lost[to] }
		w.delay = func() time.Duration { return 0 }
		w.run(20 * time.Second)
		require.Empty(t, w.downs, "seed %d: loss within the multiplier", seed)

		deaf := r.IntN(2)
		w.lose = func(to int) bool { return to == deaf }
		w.run(w.m[deaf].DetectionTime() + 5*ms)
		require.NotEqual(t, bfd.Up, w.m[deaf].State(), "seed %d", seed)
		w.run(20 * ms)
		require.Equal(t, bfd.Down, w.m[1-deaf].State(), "seed %d: the other hears of it", seed)
		w.lose = func(int) bool { return false }
		w.run(4 * time.Second)
		require.Equal(t, [2]bfd.State{bfd.Up, bfd.Up}, [2]bfd.State{w.m[0].State(), w.m[1].State()}, "seed %d", seed)
	}
}

// A process that died and came back has another discriminator and starts in Down: its neighbour follows.
func TestNeighborRestarts(t *testing.T) {
	t.Parallel()
	w := newPair(rand.New(rand.NewPCG(1, 1)), fast, fast)
	w.run(4 * time.Second)
	w.m[1] = bfd.NewMachine(0xc, fast, noJitter, w.now)
	w.run(100 * ms)
	assert.Len(t, w.downs, 1)
	w.run(4 * time.Second)
	assert.Equal(t, bfd.Up, w.m[0].State())
	assert.Equal(t, bfd.Up, w.m[1].State())
}
