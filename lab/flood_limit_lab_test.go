//go:build lab

package lab_test

import (
	netorder "encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// floodCounted is what `flood show` counts of a VNI.
type floodCounted struct {
	VNI      int               `json:"vni"`
	Problems []string          `json:"problems"`
	Counters map[string]uint64 `json:"counters"`
	Engines  []struct {
		Interface string            `json:"interface"`
		Engine    string            `json:"engine"`
		Repairs   uint64            `json:"repairs"`
		Dropped   map[string]uint64 `json:"dropped"` // of no VNI
	} `json:"engines"`
}

// counted is what a player counts of each VNI.
func (f *flooding) counted(player string) map[int]floodCounted {
	f.t.Helper()
	var all []floodCounted
	require.NoError(f.t, f.json(&all, player, "vtepbgp", "flood", "show", "--json"))
	byVNI := map[int]floodCounted{}
	for _, c := range all {
		byVNI[c.VNI] = c
	}
	return byVNI
}

// quiet is counted, once nothing more is.
func (f *flooding) quiet(player string) (now map[int]floodCounted) {
	f.t.Helper()
	eventually(f.t, convergence, "nothing more comes", func() error {
		before := f.counted(player)
		f.pass(200 * time.Millisecond)
		if now = f.counted(player); !reflect.DeepEqual(before, now) {
			return fmt.Errorf("%v became %v", before, now)
		}
		return nil
	})
	return now
}

// reload writes the configuration of a player anew and has its daemon take it.
func (f *flooding) reload(p floodPlayer) {
	f.t.Helper()
	*f.stage.player(p.name) = p
	require.NoError(f.t, os.WriteFile(filepath.Join(f.dir, p.name+".toml"), []byte(f.stage.toml(&p)), 0o644))
	f.do(p.name, "vtepbgp", "reload")
}

// metered is the table [api] of a player whose metrics are read.
const metered = "[api]\nmetrics_listen = \"" + metricsAt + "\"\n"

// staticVTEPs are lines for a VNI.
func staticVTEPs(addresses ...string) (lines string) {
	for _, a := range addresses {
		lines += fmt.Sprintf("[[vni.static_vtep]]\naddress = %q\n", a)
	}
	return lines
}

// faucet sends numbered frames to a service address, in several VNIs, and knows which copies came to a sink.
type faucet struct {
	f      *flooding
	conn   net.Conn
	mac    net.HardwareAddr
	number uint32
	sink   *tap
	copies map[uint32]map[string]int // by VNI: of each number and VTEP
}

func (f *flooding) faucet(source, sink, service string) *faucet {
	f.t.Helper()
	o := &faucet{f: f, mac: hwAddr(f.macOf(floodHost(source))), sink: f.openTap(sink, "eth1"), copies: map[uint32]map[string]int{}}
	require.NoError(f.t, within(f.namespace(source), func() (err error) {
		o.conn, err = net.Dial("udp", net.JoinHostPort(service, "4789"))
		return err
	}))
	f.t.Cleanup(func() { o.conn.Close() })
	return o
}

// send sends a frame in each of the VNIs.
func (o *faucet) send(vnis ...uint32) {
	o.f.t.Helper()
	o.number++
	for _, vni := range vnis {
		b := netorder.BigEndian.AppendUint64(nil, 8<<56|uint64(vni)<<8)
		_, err := o.conn.Write(append(b, marker(o.mac, o.number)...))
		require.NoError(o.f.t, err)
	}
}

// run sends in each of the VNIs at an interval, without catching up, and gives how many frames that were.
func (o *faucet) run(d, every time.Duration, vnis ...uint32) (sent uint64) {
	o.f.t.Helper()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		o.send(vnis...)
		sent++
	}
	return sent
}

// collect counts what has come to the sink.
func (o *faucet) collect() {
	o.f.t.Helper()
	const header = 14 + 20 + 8 + 8
	for _, s := range o.sink.drain() {
		if s.sent || len(s.frame) < header+18 || netorder.BigEndian.Uint16(s.frame[header+12:]) != 0x88b5 {
			continue
		}
		vni, key := netorder.BigEndian.Uint32(s.frame[header-4:])>>8, fmt.Sprintf("#%d to %v", netorder.BigEndian.Uint32(s.frame[header+14:]), netip.AddrFrom4([4]byte(s.frame[30:])))
		if o.copies[vni] == nil {
			o.copies[vni] = map[string]int{}
		}
		o.copies[vni][key]++
	}
}

// forget begins to count anew.
func (o *faucet) forget() {
	o.collect()
	clear(o.copies)
}

// doubled are the copies that came more than once.
func (o *faucet) doubled() (all []string) {
	for vni, copies := range o.copies {
		for key, n := range copies {
			if n > 1 {
				all = append(all, fmt.Sprintf("%s in VNI %d: %d times", key, vni, n))
			}
		}
	}
	return all
}

// The same traffic in two VNIs, more than one of them may have: that one gets its rate, what is beyond is counted, and the other
// one, whose own limit is higher, loses nothing. A reload changes both.
func TestFloodRateLimit(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"ebpf", "socket"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			const scarce, plenty, every = 100, 200, 5 * time.Millisecond // 200 frames a second in each
			vteps := []string{"10.8.0.1", "10.8.0.2", "10.8.0.3"}
			st := floodStage{family: 4, rr: kindVTEPBGP}
			replicator := func(rate, own int) floodPlayer {
				return floodPlayer{name: "s1", kind: kindVTEPBGP,
					global: floodTable(engine, fmt.Sprintf("service_address = %q\nrate_limit_pps = %d\n", st.service(1), rate)) + metered,
					vni: "flooding = \"replicator\"\n" + staticVTEPs(vteps...) +
						fmt.Sprintf("[[vni]]\nid = %d\nflooding = \"replicator\"\nrate_limit_pps = %d\n", plenty, own) + staticVTEPs(vteps...)}
			}
			st.players = []floodPlayer{replicator(50, 2000), {name: "src", kind: kindSink}, {name: "sink", kind: kindSink}}
			st.services = map[string][]string{st.service(1): {"s1"}, "10.8.0.0/24": {"sink"}}
			f := st.build(t)
			o := f.faucet("src", "sink", st.service(1))
			eventually(t, convergence, "frames of both VNIs are copied", func() error {
				o.send(scarce, plenty)
				if o.collect(); len(o.copies[scarce]) == 0 || len(o.copies[plenty]) == 0 {
					return fmt.Errorf("%d and %d copies", len(o.copies[scarce]), len(o.copies[plenty]))
				}
				return nil
			})
			f.pass(200 * time.Millisecond)
			told := f.monitor("s1", "--kind", "flood_*")

			// measure sends for a while, and gives what became of it in each VNI.
			measure := func(d time.Duration) (sent uint64, took time.Duration, grown map[int]map[string]uint64) {
				t.Helper()
				before := f.quiet("s1")
				o.forget()
				begin := time.Now()
				sent = o.run(d, every, scarce, plenty)
				eventually(t, convergence, "all are judged", func() error {
					grown = map[int]map[string]uint64{}
					for vni, c := range f.counted("s1") {
						grown[vni] = map[string]uint64{}
						for name, n := range c.Counters {
							grown[vni][name] = n - before[vni].Counters[name]
						}
					}
					if grown[scarce]["in"] != sent || grown[plenty]["in"] != sent {
						return fmt.Errorf("of %d: %v", sent, grown)
					}
					return nil
				})
				took = time.Since(begin)
				eventually(t, convergence, "their copies come", func() error {
					o.collect()
					for _, vni := range []int{scarce, plenty} {
						if want := grown[vni]["copied"] * uint64(len(vteps)); uint64(len(o.copies[uint32(vni)])) != want {
							return fmt.Errorf("%d of %d copies in VNI %d", len(o.copies[uint32(vni)]), want, vni)
						}
					}
					return nil
				})
				assert.Empty(t, o.doubled())
				t.Logf("%d frames a VNI in %s: %d: %v, %d: %v", sent, took.Round(time.Millisecond), scarce, grown[scarce], plenty, grown[plenty])
				return sent, took, grown
			}
			// limited demands that a VNI got its rate: what saved up, and what came in the time, at most; a part of that at least.
			limited := func(c map[string]uint64, sent uint64, rate float64, d, took time.Duration) {
				t.Helper()
				assert.LessOrEqual(t, float64(c["copied"]), rate/10+rate*took.Seconds()+1)
				assert.Greater(t, float64(c["copied"]), rate*d.Seconds()/3)
				assert.Equal(t, sent, c["copied"]+c["dropped_limited"])
			}

			const d = 3 * time.Second
			sent, took, grown := measure(d)
			limited(grown[scarce], sent, 50, d, took)
			assert.Equal(t, sent, grown[plenty]["copied"])
			assert.Zero(t, grown[plenty]["dropped_limited"])

			n := f.counted("s1")[scarce].Counters["dropped_limited"]
			assert.Contains(t, f.do("s1", "vtepbgp", "flood", "show"), fmt.Sprintf("limited=%d", n))
			assert.Contains(t, f.do("s1", "vtepbgp", "flood", "show", "100"), fmt.Sprintf("%d × limited", n))
			assert.EqualValues(t, n, f.metric("s1", `vtepbgp_flood_drops_total{reason="limited",vni="100"}`))
			eventually(t, convergence, "it is told", told.tells(toldEvent{Kind: "flood_dropped", Reason: "limited"}))

			f.reload(replicator(0, 20))
			eventually(t, convergence, "the other VNI is limited", func() error {
				before := f.counted("s1")[plenty].Counters["dropped_limited"]
				for range 30 {
					o.send(plenty)
				}
				f.pass(100 * time.Millisecond)
				if n := f.counted("s1")[plenty].Counters["dropped_limited"]; n == before {
					return fmt.Errorf("%d are over its limit", n)
				}
				return nil
			})
			sent, took, grown = measure(2 * time.Second)
			assert.Equal(t, sent, grown[scarce]["copied"], "without a limit")
			limited(grown[plenty], sent, 20, 2*time.Second, took)
		})
	}
}
