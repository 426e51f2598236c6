package once

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var mac = []byte{2, 0, 0, 0, 0, 1}

func TestFrame(t *testing.T) {
	kinds := map[Kind]int{}
	for seq := range 9 {
		b := frame(mac, 7, 3, seq)
		station, got, ok := parse(b, 7)
		require.True(t, ok)
		assert.Equal(t, []int{3, seq}, []int{station, got})
		assert.Equal(t, []byte(destination[kindOf(seq)]), b[:6])
		kinds[kindOf(seq)]++
		_, _, ok = parse(b, 8)
		assert.False(t, ok, "another run")
		_, _, ok = parse(b[:frameSize-1], 7)
		assert.False(t, ok, "cut off")
	}
	assert.Equal(t, map[Kind]int{Broadcast: 3, Multicast: 3, UnknownUnicast: 3}, kinds)
}

// a network of three stations with 10 frames each, 10 ms apart, and what harm does to each arrival.
func count(harm func(from, to, seq int) int) Report {
	l := newLedger([]string{"a", "b", "c"})
	for seq := range 10 {
		for from := range l.names {
			l.send(from, time.Duration(seq)*10*time.Millisecond)
			for to := range l.names {
				n := 1
				if from == to {
					n = 0
				}
				for range n + harm(from, to, seq) {
					l.hear(to, from, seq, time.Duration(seq)*10*time.Millisecond)
				}
			}
		}
	}
	return l.report(10 * time.Millisecond)
}

func TestExactlyOnce(t *testing.T) {
	r := count(func(int, int, int) int { return 0 })
	require.NoError(t, r.Err())
	assert.Equal(t, "60 arrivals due, 0 lost, 0 doubled", r.String())
	assert.Zero(t, r.Outage())
}

func TestLostAndDoubled(t *testing.T) {
	r := count(func(from, to, seq int) int {
		switch {
		case from == 0 && to == 1 && (seq == 3 || seq == 4): // broadcast, multicast
			return -1
		case from == 1 && to == 2 && seq == 5:
			return 2
		case from == 1 && to == 2 && seq == 8:
			return 1
		case from == 2 && to == 2 && seq == 6: // came back
			return 1
		}
		return 0
	})
	assert.EqualError(t, r.Err(), "a to b: lost 2 of 10: #3 (broadcast) at 30ms, #4 (multicast) at 40ms\n"+
		"b to c: doubled 2 of 10: #5 (unknown unicast) at 50ms 3 times, #8 (unknown unicast) at 80ms\n"+
		"c to c: doubled 1 of 10: #6 (broadcast) at 60ms")
	assert.Equal(t, "60 arrivals due, 2 lost, 4 doubled, longest outage 30ms", r.String())
	assert.Equal(t, "20 arrivals due, 2 lost, 0 doubled, longest outage 30ms", r.Between("a", "b").String())
	assert.Equal(t, 30*time.Millisecond, r.Twice())
	assert.NoError(t, r.Between("a", "c").Between("a").Err())
}

func TestOutageToTheEnd(t *testing.T) {
	r := count(func(from, to, seq int) int {
		if from == 0 && to == 2 && seq >= 5 {
			return -1
		}
		return 0
	})
	assert.Equal(t, 60*time.Millisecond, r.Outage())
	assert.Equal(t, 100*time.Millisecond, r.Flows[2].Until)
	assert.Contains(t, r.Err().Error(), "… #9 at 90ms")
}

func TestCompleteAndQuiet(t *testing.T) {
	l := newLedger([]string{"a", "b"})
	l.send(0, 0)
	all, _ := l.complete(time.Second)
	assert.False(t, all)
	l.hear(1, 0, 0, 200*time.Millisecond)
	l.hear(1, 5, 0, time.Second) // no such station, no such number
	l.hear(1, 0, 9, time.Second)
	all, quiet := l.complete(time.Second)
	assert.True(t, all)
	assert.Equal(t, 800*time.Millisecond, quiet)
}
