package flooding_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/cmd/vtepbgp/internal/flooding/floodingtest"
	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/flood"
)

// working is a process that copies to a VTEP, for others too, and has heard one.
func working(t *testing.T) *world {
	w := newWorld(t)
	w.start(segment())
	w.m.Renew(flood.Lease{For: time.Hour, Outlives: time.Hour})
	w.m.Apply([]evpn.ListChange{entry(100, "10.0.2.2", evpn.UseCopy)}, relay(evpn.Relay{VNI: 100, Own: true, Segment: true}))
	w.host.Send(100, addr("10.0.1.5"), evpn.MAC{2, 5: 5})
	after(3 * time.Second)
	require.Equal(t, []evpn.Event{
		evpn.VTEPHeard{VNI: 100, VTEP: addr("10.0.1.5")},
		evpn.MACHeard{VNI: 100, MAC: evpn.MAC{2, 5: 5}, VTEP: addr("10.0.1.5"), Age: time.Second},
	}, w.told())
	return w
}

func TestRestartKeepsWhatIsCopied(t *testing.T) {
	for name, stop := range map[string]func(*world){
		"crash": (*world).crash,
		"left for the next": func(w *world) {
			w.m.Leave(time.Minute)
			w.end()
			assert.True(w.t, w.host.Leased("eth1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := working(t)
				stop(w)
				n, ok := w.host.Network("eth1", 100)
				require.True(t, ok, "it copies on")
				assert.Equal(t, []string{"10.0.2.2"}, copies(n))

				w.boot()
				assert.Equal(t, []evpn.Event{
					evpn.RelayRestored{VNI: 100, Active: true, Own: true, Met: true},
					evpn.VTEPHeard{VNI: 100, VTEP: addr("10.0.1.5")},
					evpn.MACHeard{VNI: 100, MAC: evpn.MAC{2, 5: 5}, VTEP: addr("10.0.1.5")},
				}, w.m.Resume(time.Now()))
				w.m.Configure(segment())
				w.run()
				after(2 * time.Second)
				n, _ = w.host.Network("eth1", 100)
				assert.Equal(t, []string{"10.0.2.2"}, copies(n), "the core knows nothing yet")

				w.m.Apply([]evpn.ListChange{entry(100, "10.0.2.2", evpn.UseCopy), entry(100, "10.0.2.3", evpn.UseCopy)},
					relay(evpn.Relay{VNI: 100, Own: true, Segment: true}))
				synctest.Wait()
				n, _ = w.host.Network("eth1", 100)
				assert.Len(t, n.VTEPs, 1)
				w.m.Release()
				synctest.Wait()
				n, _ = w.host.Network("eth1", 100)
				assert.Equal(t, []string{"10.0.2.2", "10.0.2.3"}, copies(n))
				assert.Empty(t, w.told(), "nobody is heard twice")
				w.end()
				assert.Empty(t, w.host.Devices())
			})
		})
	}
}

// A disk that was full for a while costs a restart nothing.
func TestMemoryIsWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := working(t)
		away := w.dir + ".away"
		require.NoError(t, os.Rename(w.dir, away))
		w.host.Send(100, addr("10.0.1.6"), evpn.MAC{2, 5: 6})
		after(3 * time.Second)
		require.Len(t, w.told(), 2)
		require.NoError(t, os.Rename(away, w.dir))
		after(time.Minute)
		w.crash()
		w.boot()
		assert.Len(t, w.m.Resume(time.Now()), 5, "a relay, two VTEPs and two MACs")
		w.run()
		w.end()
	})
}

// A second crash before the first table remembers what the first one left.
func TestCrashBeforeRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := working(t)
		for range 2 {
			w.crash()
			w.boot()
			assert.Len(t, w.m.Resume(time.Now()), 3)
			w.m.Configure(segment())
			w.run()
			after(2 * time.Second)
		}
		_, ok := w.host.Network("eth1", 100)
		assert.True(t, ok)
		w.end()
		assert.Empty(t, w.host.Devices(), "also what was never taken over")
	})
}

// What was left goes as well where no engine can be had: nobody would look after its lists.
func TestWhatIsLeftGoesWhenNoEngineCanBeOpened(t *testing.T) {
	for _, engine := range []string{flood.Auto, floodingtest.Remaining, floodingtest.Passing} {
		t.Run(engine, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := working(t)
				w.crash()
				require.Equal(t, []string{"eth1"}, w.host.Devices())
				w.host.Deny(floodingtest.Remaining, errors.New("verifier says no"))
				w.host.Deny(floodingtest.Passing, errors.New("no more sockets"))
				w.boot()
				w.m.Resume(time.Now())
				cfg := segment()
				cfg.Engine = engine
				w.m.Configure(cfg)
				w.run()
				w.m.Apply([]evpn.ListChange{entry(100, "10.0.2.3", evpn.UseCopy)}, relay(evpn.Relay{VNI: 100, Own: true, Segment: true}))
				w.m.Release()
				synctest.Wait()
				assert.Empty(t, w.host.Devices())
				w.end()
			})
		})
	}
}

// An engine that works goes on when the one that is wished for cannot be had.
func TestWhatWorksStaysWhenAnotherEngineCannotBeOpened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := working(t)
		w.host.Deny(floodingtest.Passing, errors.New("no more sockets"))
		cfg := segment()
		cfg.Engine = floodingtest.Passing
		w.m.Configure(cfg)
		synctest.Wait()
		n, ok := w.host.Network("eth1", 100)
		require.True(t, ok)
		assert.Equal(t, []string{"10.0.2.2"}, copies(n))
		w.end()
	})
}

func TestWhatIsLeftWhereNothingIsWantedGoes(t *testing.T) {
	for name, edit := range map[string]func(*world){
		"other interface": func(w *world) {
			cfg := segment()
			cfg.VNIs[0].Interface = "eth7"
			w.m.Configure(cfg)
		},
		"other engine": func(w *world) {
			cfg := segment()
			cfg.Engine = "socket"
			w.m.Configure(cfg)
		},
		"nothing": func(w *world) { w.m.Configure(segment()); cfg := segment(); cfg.VNIs = nil; w.m.Configure(cfg) },
	} {
		for _, resumed := range []bool{true, false} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := working(t)
					w.crash()
					w.boot()
					if resumed {
						w.m.Resume(time.Now())
					}
					edit(w)
					w.run()
					synctest.Wait()
					if resumed {
						_, engine := w.host.Copying("eth1")
						assert.Equal(t, "ebpf", engine, "not before the release")
						w.m.Release()
						synctest.Wait()
					}
					_, engine := w.host.Copying("eth1")
					assert.NotEqual(t, "ebpf", engine)
					require.NoError(t, w.host.Err())
					w.end()
				})
			})
		}
	}
}

// What a process hears is told once, stays while the VTEP answers, and is over when not.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := working(t)
		w.answer("10.0.1.5", true)
		after(88 * time.Second)
		assert.Equal(t, []evpn.Event{evpn.MACSilent{VNI: 100, MAC: evpn.MAC{2, 5: 5}, VTEP: addr("10.0.1.5")}}, w.told())
		assert.Equal(t, 1, w.m.Status().HeardVTEPs, "it answers")

		w.answer("10.0.1.5", false)
		w.host.Send(100, addr("10.0.1.6"), evpn.MAC{2, 5: 5})
		w.host.Send(100, addr("10.0.1.1"), evpn.MAC{2, 5: 6}) // ourselves
		w.host.Send(100, addr("10.9.9.9"), evpn.MAC{2, 5: 7}) // from outside
		after(2 * time.Second)
		told := w.told()
		require.Len(t, told, 2)
		assert.Equal(t, evpn.VTEPHeard{VNI: 100, VTEP: addr("10.0.1.6")}, told[0])

		w.answer("10.0.1.6", true)
		after(95 * time.Second)
		assert.Equal(t, []evpn.Event{
			evpn.VTEPSilent{VNI: 100, VTEP: addr("10.0.1.5")},
			evpn.MACSilent{VNI: 100, MAC: evpn.MAC{2, 5: 5}, VTEP: addr("10.0.1.6")},
		}, w.told())

		deaf := segment()
		deaf.VNIs[0].ProxyVTEPs, deaf.VNIs[0].ProxyMACs = false, false
		w.m.Configure(deaf)
		after(2 * time.Second)
		assert.Equal(t, []evpn.Event{evpn.VTEPSilent{VNI: 100, VTEP: addr("10.0.1.6")}}, w.told(), "nobody wants it any more")
		w.end()
	})
}

// A MAC that moves between VTEPs of the segment is told of, and so is one that is heard
// again: another VTEP may have had it in between.
func TestMACsThatMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := working(t)
		mac := evpn.MAC{2, 5: 5}
		w.host.Send(100, addr("10.0.1.5"), mac)
		after(time.Second)
		assert.Equal(t, []evpn.Event{
			evpn.VTEPHeard{VNI: 100, VTEP: addr("10.0.1.5")},
			evpn.MACHeard{VNI: 100, MAC: mac, VTEP: addr("10.0.1.5"), Age: time.Second},
		}, w.told())
		w.host.Send(100, addr("10.0.1.5"), mac)
		after(100 * time.Millisecond)
		w.host.Send(100, addr("10.0.1.6"), mac)
		after(time.Second)
		told := w.told()
		require.NotEmpty(t, told)
		last, ok := told[len(told)-1].(evpn.MACHeard)
		require.True(t, ok)
		assert.Equal(t, addr("10.0.1.6"), last.VTEP)
		after(2 * time.Second)
		assert.Empty(t, w.told(), "the older place does not come back")
		w.end()
	})
}

// VTEPs that a replicator learned from data stay for the hold time, whether or not they
// answer.
func TestLearnedFromData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := segment()
		cfg.LearnFromData = true
		cfg.VNIs[0].Mode = evpn.FloodReplicator
		w.start(cfg)
		w.m.Apply(nil, relay(evpn.Relay{VNI: 100, Replicate: true}))
		w.answer("10.7.7.7", true)
		w.host.Send(100, addr("10.7.7.7"), evpn.MAC{2, 5: 1})
		w.host.Send(100, addr("169.254.7.7"), evpn.MAC{2, 5: 2}) // which no other host could send to
		after(2 * time.Second)
		assert.Equal(t, []evpn.Event{evpn.VTEPHeard{VNI: 100, VTEP: addr("10.7.7.7")}}, w.told())
		after(90 * time.Second)
		assert.Equal(t, []evpn.Event{evpn.VTEPSilent{VNI: 100, VTEP: addr("10.7.7.7")}}, w.told())
		w.end()
	})
}

// Engines tell for some seconds of whom they heard: a hold time that is shorter ends all the same, once.
func TestShortHoldTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := segment()
		cfg.HoldTime = 2 * time.Second
		w.start(cfg)
		w.m.Apply(nil, relay(evpn.Relay{VNI: 100, Segment: true}))
		vtep, mac := addr("10.0.1.5"), evpn.MAC{2, 5: 5}
		for range 2 {
			w.host.Send(100, vtep, mac)
			after(20 * time.Second)
			told := w.told()
			require.Len(t, told, 4)
			assert.Equal(t, evpn.VTEPHeard{VNI: 100, VTEP: vtep}, told[0])
			assert.IsType(t, evpn.MACHeard{}, told[1])
			assert.Equal(t, []evpn.Event{
				evpn.MACSilent{VNI: 100, MAC: mac, VTEP: vtep}, evpn.VTEPSilent{VNI: 100, VTEP: vtep},
			}, told[2:])
		}
		w.end()
	})
}

// What does not outlive the process ends with it; what does, when nobody is waited for any more.
func TestWhatIsLeftEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		begin := func(outlives time.Duration) {
			w.boot()
			w.m.Keep(flood.Lease{For: time.Hour, Outlives: outlives})
			w.m.Configure(segment())
			w.m.Apply([]evpn.ListChange{entry(100, "10.0.2.2", evpn.UseCopy)}, relay(evpn.Relay{VNI: 100, Own: true}))
			w.run()
			after(3 * time.Second) // what it remembers is written
		}
		copying := func() bool {
			_, ok := w.host.Network("eth1", 100)
			return ok
		}
		begin(0)
		assert.True(t, copying())
		w.crash()
		assert.False(t, copying(), "an engine that came later knows as well")
		begin(time.Hour)
		w.crash()
		assert.True(t, copying())
		begin(time.Hour)
		w.m.Leave(10 * time.Second)
		w.end()
		after(9 * time.Second)
		assert.True(t, copying())
		after(2 * time.Second)
		assert.False(t, copying())
		begin(0)
		w.m.Leave(10 * time.Second)
		w.end()
		assert.False(t, copying())
	})
}

// TestOutlives: what ends with the process is not resumed when another one would have taken over.
func TestOutlives(t *testing.T) {
	for name, c := range map[string]struct {
		engine  string
		standby bool
		lasts   bool
		resumes bool
	}{
		"ebpf":                        {"ebpf", true, true, true},
		"the first that works":        {flood.Auto, true, true, true},
		"socket":                      {"socket", true, false, false},
		"socket, and nobody else":     {"socket", false, false, true},
		"ebpf, and nobody else there": {"ebpf", false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				cfg := segment()
				cfg.Engine = c.engine
				w.start(cfg)
				assert.Equal(t, c.lasts, w.m.Outlives())
				w.m.Apply(nil, relay(evpn.Relay{VNI: 100, Own: true, Segment: true, Standby: c.standby}))
				w.host.Send(100, addr("10.0.1.5"), evpn.MAC{2, 5: 5})
				after(5 * time.Second)
				assert.Equal(t, c.lasts, w.m.Outlives())
				w.crash()
				w.boot()
				resumed := w.m.Resume(time.Now())
				assert.Equal(t, c.resumes, slices.Contains(resumed, evpn.Event(evpn.RelayRestored{VNI: 100, Active: true, Own: true, Met: true})))
				w.m.Configure(cfg)
				w.run()
				w.m.Release()
				synctest.Wait()
				w.end()
			})
		})
	}
}

// TestOutlivesFollowsTheEngine: a reload may change it.
func TestOutlivesFollowsTheEngine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		cfg := segment()
		cfg.Engine = "socket"
		w.start(cfg)
		w.m.Apply(nil, relay(evpn.Relay{VNI: 100, Own: true, Segment: true}))
		synctest.Wait()
		require.False(t, w.m.Outlives())
		for _, engine := range []string{"ebpf", "socket", flood.Auto} {
			cfg.Engine = engine
			w.m.Configure(cfg)
			synctest.Wait()
			assert.Equal(t, engine != "socket", w.m.Outlives(), engine)
		}
		w.end()
	})
}
