//go:build lab

package lab_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// quickDuplicates freezes after three moves and thaws soon, so that a test sees both.
const quickDuplicates = `
[duplicate_detection]
moves = 3
window = "60s"
recovery = "5s"
`

// shownMAC is what `mac show` tells of the roaming host.
type shownMAC struct {
	MAC       string `json:"mac"`
	Origin    string `json:"origin"`
	VTEP      string `json:"vtep"`
	Sequence  uint32 `json:"sequence"`
	Duplicate bool   `json:"duplicate"`
}

func (f *fabric) shownMAC(node, mac string) (shownMAC, error) {
	var macs []shownMAC
	if err := f.json(&macs, node, "vtepbgp", "mac", "show", "--vni", "100", "--mac", mac, "-o", "json"); err != nil {
		return shownMAC{}, err
	}
	if len(macs) != 1 {
		return shownMAC{}, fmt.Errorf("mac show of %s on %s: %+v", mac, node, macs)
	}
	return macs[0], nil
}

// Two hosts with one MAC behind two VTEPs: after a few moves the MAC is frozen where it is,
// shown and counted; it is released by hand or by time, and then all agree again
// (RFC 7432 §15.1).
func TestDuplicateMAC(t *testing.T) {
	t.Parallel()
	for _, kind := range []map[string]string{
		{"rr": kindVTEPBGP, "va": kindVTEPBGP, "vb": kindVTEPBGP, "vc": kindVTEPBGP},
		{"rr": kindFRR, "va": kindVTEPBGP, "vb": kindFRR, "vc": kindVTEPBGP},
	} {
		t.Run(castName(kind), func(t *testing.T) {
			t.Parallel()
			f := stage{kind: kind, roamers: true, config: map[string]string{
				"va": quickDuplicates, "vb": quickDuplicates, "vc": quickDuplicates,
			}}.build(t)
			s := f.sites()
			for _, r := range s[:2] {
				f.do(r.roamer, "ip", "link", "set", "eth1", "address", roamerMAC)
			}
			frozen := func() error {
				// Each host speaks only when the other's claim has arrived here, so that every
				// word is a move.
				m, err := f.shownMAC("va", roamerMAC)
				if err != nil {
					f.announce("r1", roamerMAC, roamerIP)
					return err
				}
				if m.Duplicate {
					return nil
				}
				who := "r1"
				if m.Origin == "local" {
					who = "r2"
				}
				f.announce(who, roamerMAC, roamerIP)
				return fmt.Errorf("not frozen: %+v", m)
			}
			thawed := func() error {
				m, err := f.shownMAC("va", roamerMAC)
				if err == nil && m.Duplicate {
					err = fmt.Errorf("still frozen: %+v", m)
				}
				return err
			}
			alone := func() {
				f.do("r2", "ip", "link", "set", "eth1", "address", "02:00:00:00:ee:02")
				eventually(t, convergence, "one host is left: all agree", func() error {
					f.announce("r1", roamerMAC, roamerIP)
					m, err := f.shownMAC("va", roamerMAC)
					if err != nil {
						return err
					}
					if m.Origin != "local" || m.Duplicate {
						return fmt.Errorf("on va: %+v", m)
					}
					for _, o := range s[1:] {
						if err := f.wantFDB(o.vtep, roamerMAC, remoteRows(roamerMAC, "10.0.0.1"))(); err != nil {
							return err
						}
					}
					return nil
				})
				f.do("r2", "ip", "link", "set", "eth1", "address", roamerMAC)
			}

			eventually(t, convergence, "frozen", frozen)
			m, err := f.shownMAC("va", roamerMAC)
			require.NoError(t, err)
			f.do("va", "vtepbgp", "mac", "clear-duplicate", "--vni", "100", roamerMAC)
			require.NoError(t, thawed(), "cleared by hand, was %+v", m)
			alone()

			eventually(t, convergence, "frozen again", frozen)
			require.Contains(t, f.do("va", "vtepbgp", "mac", "show", "--duplicate"), roamerMAC)
			first, err := f.shownMAC("va", roamerMAC)
			require.NoError(t, err)
			for range 4 { // words of either host change nothing while it is frozen
				f.announce("r1", roamerMAC, roamerIP)
				f.announce("r2", roamerMAC, roamerIP)
				if m, err := f.shownMAC("va", roamerMAC); err == nil && m.Duplicate {
					require.Equal(t, first, m)
				}
			}
			eventually(t, convergence, "recovery by time", thawed)
			alone()
		})
	}
}
