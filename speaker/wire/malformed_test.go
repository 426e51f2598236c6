package wire_test

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/speaker/wire"
)

const (
	nlri2a   = "02 21 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 00 000064 "
	nlri2b   = "02 21 00010a6300010002 00000000000000000000 00000000 30 02aa00000002 00 000064 "
	nlri3    = "03 11 00010a6300010002 00000000 20 0a630001 "
	nlri1    = "01 19 00010a6300010002 00112233445566778899 00000000 000064 "
	nlri4    = "04 17 00010a6300010002 00112233445566778899 20 0a630001 "
	origin   = "40 01 01 00 "
	emptyAS  = "40 02 00 "
	pref     = "40 05 04 00000064 "
	rt       = "c0 10 08 0002fde800000064 "
	goodAttr = origin + emptyAS + pref + rt
)

func key2(n byte) evpn.RouteKey {
	return evpn.RouteKey{Type: evpn.MACIPRoute, RD: frrRD(), MAC: mac(n)}
}

func key3() evpn.RouteKey {
	return evpn.RouteKey{Type: evpn.IMETRoute, RD: frrRD(), IP: netip.MustParseAddr("10.99.0.1")}
}

// outcome is what an UPDATE led to, in short.
type outcome struct {
	announced, withdrawn []evpn.RouteKey
	drops                string // "reason*count" joined by "; ", in order
	others               int
	eor                  bool
	reset                string // the NOTIFICATION in words
}

func outcomeOf(up wire.Update, err error) outcome {
	var o outcome
	if err != nil {
		var e *wire.Error
		if !errors.As(err, &e) {
			return outcome{reset: "not an *Error: " + err.Error()}
		}
		return outcome{reset: wire.ErrorText(e.Code, e.Subcode)}
	}
	for _, r := range up.Announced {
		o.announced = append(o.announced, r.Key)
	}
	o.withdrawn = append(o.withdrawn, up.Withdrawn...)
	var drops []string
	for _, d := range up.Drops {
		drops = append(drops, d.Reason+"*"+string(rune('0'+d.Count)))
	}
	o.drops, o.others, o.eor = strings.Join(drops, "; "), up.Others, up.EndOfRIB
	return o
}

func keys(k ...evpn.RouteKey) []evpn.RouteKey { return k }

// TestUpdateErrors is RFC 7606 by example: an UPDATE, and what comes of it on an iBGP session,
// whether we reflect or not.
func TestUpdateErrors(t *testing.T) {
	both := reach(t, nlri2a, nlri2b)
	good := func(attrs ...string) []byte { return append(octets(t, attrs...), both...) }
	announced := keys(key2(1), key2(2))
	withdrawn := announced
	malformedList := "UPDATE message error: malformed attribute list"
	optional := "UPDATE message error: optional attribute error"

	for name, c := range map[string]struct {
		attrs []byte
		want  outcome
	}{
		"nothing wrong":                          {good(goodAttr), outcome{announced: announced}},
		"End-of-RIB":                             {unreach(t), outcome{eor: true}},
		"End-of-RIB of another family":           {octets(t, "80 0f 03 0002 01"), outcome{}},
		"no NLRI in MP_REACH_NLRI":               {append(octets(t, goodAttr), reach(t)...), outcome{}},
		"withdraw and announce":                  {append(good(goodAttr), unreach(t, nlri3)...), outcome{announced: announced, withdrawn: keys(key3())}},
		"withdraw without labels":                {unreach(t, "02 1e 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 00"), outcome{withdrawn: keys(key2(1))}},
		"MP_REACH_NLRI first":                    {append(both, octets(t, goodAttr)...), outcome{announced: announced}},
		"ORIGIN 3 (§7.1)":                        {good("40 01 01 03", emptyAS, pref, rt), outcome{withdrawn: withdrawn, drops: "attribute value*2"}},
		"ORIGIN of 2 octets (§7.1)":              {good("40 01 02 0000", emptyAS, pref, rt), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"ORIGIN optional (§3 c)":                 {good("c0 01 01 00", emptyAS, pref, rt), outcome{withdrawn: withdrawn, drops: "attribute flags*2"}},
		"ORIGIN missing (§3 d)":                  {good(emptyAS, pref, rt), outcome{withdrawn: withdrawn, drops: "attribute missing*2"}},
		"ORIGIN twice (§3 g)":                    {good(goodAttr, "40 01 01 09"), outcome{announced: announced, drops: "attribute duplicate*1"}},
		"AS_PATH missing":                        {good(origin, pref, rt), outcome{withdrawn: withdrawn, drops: "attribute missing*2"}},
		"AS_PATH segment type 5 (§7.2)":          {good(origin, "40 02 06 05 01 00000001", pref, rt), outcome{withdrawn: withdrawn, drops: "attribute value*2"}},
		"AS_PATH overrun (§7.2)":                 {good(origin, "40 02 06 02 02 00000001", pref, rt), outcome{withdrawn: withdrawn, drops: "attribute value*2"}},
		"AS_PATH underrun (§7.2)":                {good(origin, "40 02 07 02 01 00000001 02", pref, rt), outcome{withdrawn: withdrawn, drops: "attribute value*2"}},
		"AS_PATH empty segment (§7.2)":           {good(origin, "40 02 02 02 00", pref, rt), outcome{withdrawn: withdrawn, drops: "attribute value*2"}},
		"AS_PATH with AS 0 (RFC 7607)":           {good(origin, "40 02 06 02 01 00000000", pref, rt), outcome{withdrawn: withdrawn, drops: "attribute value*2"}},
		"NEXT_HOP beside MP_REACH_NLRI":          {good(goodAttr, "40 03 04 00000000"), outcome{announced: announced}},
		"NEXT_HOP of 5 octets (§7.3)":            {good(goodAttr, "40 03 05 0000000000"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"MED of 3 octets (§7.4)":                 {good(goodAttr, "80 04 03 000000"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"LOCAL_PREF of 3 octets (§7.5)":          {good(origin, emptyAS, "40 05 03 000000", rt), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"LOCAL_PREF missing":                     {good(origin, emptyAS, rt), outcome{announced: announced}},
		"ATOMIC_AGGREGATE of 1 octet (§7.6)":     {good(goodAttr, "40 06 01 00"), outcome{announced: announced, drops: "attribute discarded*1"}},
		"ATOMIC_AGGREGATE optional (§3 f)":       {good(goodAttr, "c0 06 00"), outcome{announced: announced, drops: "attribute discarded*1"}},
		"AGGREGATOR of 6 octets (§7.7)":          {good(goodAttr, "c0 07 06 0001 0a000001"), outcome{announced: announced, drops: "attribute discarded*1"}},
		"communities empty (§7.8)":               {good(goodAttr, "c0 08 00"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"communities of 5 octets (§7.8)":         {good(goodAttr, "c0 08 05 0000000000"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"ORIGINATOR_ID of 5 octets (§7.9)":       {good(goodAttr, "80 09 05 0000000000"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"CLUSTER_LIST empty (§7.10)":             {good(goodAttr, "80 0a 00"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"ext. communities of 7 octets (§7.14)":   {good(origin, emptyAS, pref, "c0 10 07 00000000000000"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"ext. communities empty (§7.14)":         {good(origin, emptyAS, pref, "c0 10 00"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"IPv6 ext. comm. of 19 octets (§7.15)":   {good(goodAttr, "c0 19 13", strings.Repeat("00", 19)), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"large communities of 11 octets":         {good(goodAttr, "c0 20 0b", strings.Repeat("00", 11)), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"PMSI of 4 octets (RFC 6514 §5)":         {good(goodAttr, "c0 16 04 00 06 0000"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"PMSI with 6-octet endpoint":             {good(goodAttr, "c0 16 0b 00 06 000064 0a6300010000"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"PMSI of another tunnel type":            {good(goodAttr, "c0 16 06 00 07 000064 00"), outcome{announced: announced}},
		"PMSI without a tunnel (RFC 6514 §5)":    {good(goodAttr, "c0 16 05 00 00 000064"), outcome{announced: announced}},
		"… as FRR 8.4 reflects it":               {good(goodAttr, "c0 16 09 00 00 000064 0a630001"), outcome{announced: announced}},
		"PMSI of a replicator (RFC 9574 §4)":     {good(goodAttr, "c0 16 09 08 0a 000064 0a6300fe"), outcome{announced: announced}},
		"… with a 1-octet AR-IP":                 {good(goodAttr, "c0 16 06 08 0a 000064 00"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"… without an AR-IP":                     {good(goodAttr, "c0 16 05 08 0a 000064"), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"AS4_PATH from a 4-octet speaker":        {good(goodAttr, "c0 11 06 02 01 00000001"), outcome{announced: announced, drops: "attribute discarded*1"}},
		"unknown, optional transitive (§5)":      {good(goodAttr, "c0 80 02 abcd"), outcome{announced: announced}},
		"unknown, optional":                      {good(goodAttr, "80 80 02 abcd"), outcome{announced: announced}},
		"unknown, well-known":                    {good(goodAttr, "40 80 02 abcd"), outcome{reset: "UPDATE message error: unrecognized well-known attribute"}},
		"unknown twice":                          {good(goodAttr, "c0 80 00 c0 80 00"), outcome{announced: announced, drops: "attribute duplicate*1"}},
		"last attribute overruns (§4)":           {append(good(goodAttr), octets(t, "c0 08 09 0000")...), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"two octets left over (§4)":              {append(good(goodAttr), 0xc0, 8), outcome{withdrawn: withdrawn, drops: "attribute length*2"}},
		"error, no reachable route (§5.2)":       {append(octets(t, "40 01 01 03"), unreach(t, nlri2a)...), outcome{reset: malformedList}},
		"attributes without routes":              {octets(t, goodAttr), outcome{}},
		"MP_REACH_NLRI overruns (§3 j)":          {append(octets(t, goodAttr), both[:40]...), outcome{reset: malformedList}},
		"MP_REACH_NLRI twice (§3 g)":             {append(good(goodAttr), both...), outcome{reset: malformedList}},
		"MP_REACH_NLRI transitive (§5.3)":        {append(octets(t, goodAttr, "d0"), both[1:]...), outcome{reset: "UPDATE message error: attribute flags error"}},
		"MP_REACH_NLRI of 4 octets (§5.3)":       {octets(t, goodAttr, "80 0e 04 0019 46 00"), outcome{reset: optional}},
		"MP_UNREACH_NLRI of 2 octets (§5.3)":     {octets(t, "80 0f 02 0019"), outcome{reset: optional}},
		"next hop of 5 octets (§7.11)":           {octets(t, goodAttr, "80 0e 0a 0019 46 05 0a63000100 00"), outcome{reset: optional}},
		"next hop of 12 octets (§7.11)":          {octets(t, goodAttr, "80 0e 11 0019 46 0c 00000000000000000a630001 00"), outcome{reset: optional}},
		"next hop past the attribute (§7.11)":    {octets(t, goodAttr, "80 0e 06 0019 46 10 0a63"), outcome{reset: optional}},
		"MP_REACH_NLRI of a family not asked":    {octets(t, goodAttr, "80 0e 0e 0001 01 04 0a630001 00 20c0000201"), outcome{drops: "family not negotiated*1"}},
		"… with nonsense inside":                 {octets(t, goodAttr, "80 0e 05 4004 47 ff ff"), outcome{drops: "family not negotiated*1"}},
		"MP_UNREACH_NLRI of a family not asked":  {octets(t, "80 0f 08 0001 01 20c0000201"), outcome{drops: "family not negotiated*1"}},
		"types 1 and 4 (§5.4)":                   {append(octets(t, goodAttr), reach(t, nlri1, nlri2a, nlri4)...), outcome{announced: keys(key2(1)), others: 2}},
		"types 6 to 11 among good ones (§5.4)":   {append(octets(t, goodAttr), reach(t, nlri2a, "06 02 0000 07 00 08 01 ff 09 00 0a 00 0b 00", nlri2b)...), outcome{announced: announced, others: 6, drops: "route type not handled*6"}},
		"type 0":                                 {append(octets(t, goodAttr), reach(t, "00 00", nlri2a)...), outcome{announced: keys(key2(1)), others: 1, drops: "route type not handled*1"}},
		"short type 3, IP length 32":             {append(octets(t, goodAttr), reach(t, nlri2a, gobgpKills["type 3 of 13 octets with IP length 32"])...), outcome{announced: keys(key2(1)), drops: "nlri malformed*1"}},
		"short type 2":                           {append(octets(t, goodAttr), reach(t, gobgpKills["type 2 of 20 octets"], nlri2b)...), outcome{announced: keys(key2(2)), drops: "nlri malformed*1"}},
		"type 3 of 2 octets":                     {append(octets(t, goodAttr), reach(t, nlri2a, gobgpKills["type 3 of 2 octets"], nlri2b)...), outcome{announced: announced, drops: "nlri malformed*1"}},
		"type 1 of 24 octets":                    {append(octets(t, goodAttr), reach(t, "01 18", strings.Repeat("00", 24), nlri2a)...), outcome{announced: keys(key2(1)), drops: "nlri malformed*1"}},
		"type 4 with IP length 31":               {append(octets(t, goodAttr), reach(t, "04 17 00010a6300010002 00112233445566778899 1f 0a630001", nlri2a)...), outcome{announced: keys(key2(1)), drops: "nlri malformed*1"}},
		"MAC length 47":                          {append(octets(t, goodAttr), reach(t, strings.Replace(nlri2a, "30 02aa", "2f 02aa", 1), nlri2b)...), outcome{announced: keys(key2(2)), drops: "nlri malformed*1"}},
		"IP length 33":                           {append(octets(t, goodAttr), reach(t, "02 25 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 21 c0a86401 000064", nlri2b)...), outcome{announced: keys(key2(2)), drops: "nlri malformed*1"}},
		"labels missing replace what was":        {append(octets(t, goodAttr), reach(t, "02 1e 00010a6300010002 00000000000000000000 00000000 30 02aa00000001 00", nlri2b)...), outcome{announced: keys(key2(2)), withdrawn: keys(key2(1)), drops: "nlri malformed*1"}},
		"type 5 of 33 octets":                    {append(octets(t, goodAttr), reach(t, "05 21", strings.Repeat("00", 33), nlri2b)...), outcome{announced: keys(key2(2)), drops: "nlri malformed*1"}},
		"type 5 with prefix length 33":           {append(octets(t, goodAttr), reach(t, "05 22", strings.Repeat("00", 22), "21", strings.Repeat("00", 11), nlri2b)...), outcome{announced: keys(key2(2)), drops: "nlri malformed*1"}},
		"last NLRI runs past the end":            {append(octets(t, goodAttr), reach(t, nlri2a, nlri2b, "02 ff 0001")...), outcome{announced: announced, drops: "nlri framing*1"}},
		"one octet left over":                    {append(octets(t, goodAttr), reach(t, nlri2a, nlri2b, "02")...), outcome{announced: announced, drops: "nlri framing*1"}},
		"treat-as-withdraw takes bad NLRI along": {append(octets(t, emptyAS), reach(t, nlri2a, "03 02 0001", nlri1, nlri2b)...), outcome{withdrawn: withdrawn, others: 1, drops: "nlri malformed*1; attribute missing*3"}},
		"own ASN in AS_PATH":                     {good(origin, "40 02 0a 02 02 00000001 0000fde8", pref, rt), outcome{withdrawn: withdrawn, drops: "own ASN in AS_PATH*2"}},
		"own router ID as ORIGINATOR_ID":         {good(goodAttr, "80 09 04 0a630009"), outcome{withdrawn: withdrawn, drops: "own router ID as ORIGINATOR_ID*2"}},
		"own cluster ID":                         {good(goodAttr, "80 0a 08 01010101 0a630009"), outcome{withdrawn: withdrawn, drops: "own cluster ID in CLUSTER_LIST*2"}},
		"label 0 is for the core to judge":       {append(octets(t, goodAttr), reach(t, strings.Replace(nlri2a, "000064", "000000", 1))...), outcome{announced: keys(key2(1))}},
		"group MAC is for the core to judge":     {append(octets(t, goodAttr), reach(t, strings.Replace(nlri2a, "02aa00000001", "03aa00000001", 1))...), outcome{announced: keys(evpn.RouteKey{Type: evpn.MACIPRoute, RD: frrRD(), MAC: evpn.MAC{3, 0xaa, 0, 0, 0, 1}})}},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := outcomeOf(wire.ParseUpdate(update(c.attrs)[wire.HeaderLen:], session()))
			assert.Equal(t, c.want, leaf)

			s := session()
			s.Transit = true
			for range 2 { // the second time attributes come from the cache
				up, err := wire.ParseUpdate(update(c.attrs)[wire.HeaderLen:], s)
				got := outcomeOf(up, err)
				got.drops = c.want.drops // transit mode has more of them
				assert.Equal(t, c.want, got, "transit")
				gobgpAccepts(t, up)
			}
		})
	}
}

// TestUpdateFraming is the part of an UPDATE that RFC 7606 leaves to a session reset (RFC 4271 §6.3).
func TestUpdateFraming(t *testing.T) {
	for name, body := range map[string]string{
		"empty":                             "",
		"three octets":                      "000000",
		"withdrawn routes past the end":     "0001 0000",
		"attributes past the end":           "0000 0001",
		"both past the end":                 "ffff ffff",
		"attributes hidden by the withdraw": "0002 0000",
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, outcome{reset: "UPDATE message error: malformed attribute list"}, outcomeOf(wire.ParseUpdate(octets(t, body), session())))
		})
	}
	t.Run("IPv4 End-of-RIB is tolerated", func(t *testing.T) {
		assert.Equal(t, outcome{}, outcomeOf(wire.ParseUpdate(octets(t, "0000 0000"), session())))
	})
	t.Run("IPv4 routes are counted", func(t *testing.T) {
		got := outcomeOf(wire.ParseUpdate(octets(t, "0005 20c0000201", "0014 ", origin, emptyAS, pref, "40 03 04 0a000001"+"00"[:0], "18c00002 18c00003"), session()))
		assert.Equal(t, outcome{drops: "family not negotiated*3"}, got)
	})
	t.Run("EVPN was not negotiated", func(t *testing.T) {
		s := session()
		s.EVPN = false
		got := outcomeOf(wire.ParseUpdate(update(append(octets(t, goodAttr), reach(t, nlri2a)...))[wire.HeaderLen:], s))
		assert.Equal(t, outcome{drops: "family not negotiated*1"}, got)
	})
}

// TestExternalPeer: an external peer has no say in what is internal (RFC 7606 §7.5, §7.9, §7.10).
func TestExternalPeer(t *testing.T) {
	s := session()
	s.IBGP, s.Transit = false, true
	attrs := append(octets(t, origin, "40 02 06 02 01 0000fde9", "40 05 04 000000ff", "80 09 04 0a630009", "80 0a 03 000000", rt), reach(t, nlri2a)...)
	up := parse(t, s, update(attrs))
	require.Len(t, up.Announced, 1)
	assert.EqualValues(t, 100, up.Announced[0].Attrs.LocalPref)
	assert.False(t, up.Announced[0].Attrs.OriginatorID.IsValid())
	assert.Equal(t, []wire.Drop{{Reason: wire.DropAttributeDiscarded, Count: 3, Detail: "type 5 from an external peer"}}, up.Drops)
	gobgpAcceptsFrom(t, up, true)

	confed := append(octets(t, origin, "40 02 06 03 01 0000fde9", rt), reach(t, nlri2a)...)
	up = parse(t, s, update(confed))
	assert.Empty(t, up.Announced)
	assert.Equal(t, keys(key2(1)), up.Withdrawn, "confederation segments (RFC 5065 §5)")
}

// TestTwoOctetPeer reads AS_PATH of a peer that knows two octets only (RFC 6793 §4.2.3).
func TestTwoOctetPeer(t *testing.T) {
	for name, c := range map[string]struct {
		attrs string
		want  uint16
		own   bool
	}{
		"no AS4_PATH":                       {"40 02 06 02 02 5ba0 0002", 2, false},
		"merged, own ASN seen":              {"40 02 08 02 03 0001 5ba0 5ba0 c0 11 0a 02 02 0000fde8 00010000", 3, true},
		"AS4_PATH too long is ignored":      {"40 02 04 02 01 5ba0 c0 11 0a 02 02 0000fde8 00010000", 1, false},
		"AS4_PATH malformed is ignored":     {"40 02 04 02 01 5ba0 c0 11 05 02 02 0000fd", 1, false},
		"ignored after an old aggregator":   {"40 02 04 02 01 5ba0 c0 07 06 0001 01010101 c0 11 06 02 01 0000fde8", 1, false},
		"set counts one":                    {"40 02 08 01 03 0001 0002 0003", 1, false},
		"cut inside a sequence":             {"40 02 0a 02 04 0001 0002 5ba0 5ba0 c0 11 0a 02 02 00010001 00010000", 4, false},
		"confederation in AS4_PATH ignored": {"40 02 06 02 02 0001 5ba0 c0 11 0c 03 01 0000fde8 02 01 00010000", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := session()
			s.FourOctetAS, s.IBGP, s.Transit = false, false, true
			up := parse(t, s, update(append(octets(t, origin, c.attrs, rt), reach(t, nlri2a)...)))
			if c.own {
				assert.Equal(t, keys(key2(1)), up.Withdrawn)
				return
			}
			require.Len(t, up.Announced, 1)
			assert.Equal(t, c.want, up.Announced[0].Attrs.ASPathLen)
			gobgpAcceptsFrom(t, up, true)
		})
	}
}

// TestCommunities reads what facts say peers send: unknown EVPN subtypes never harm a route.
func TestCommunities(t *testing.T) {
	s := session()
	s.Transit = true
	up := parse(t, s, update(append(octets(t, origin, emptyAS, pref, "c0 10 50",
		"030c000000000008", "0002fde800000064", "0102 0a000001 0007", "0202 fa56ea00 0007",
		"0600 01 00 0000002a", "030d000000000000", "0608 01 0000000000", "0604 000000000000", "0606 000000000000", "067f 000000000000"), reach(t, nlri2a)...)))
	require.Len(t, up.Announced, 1)
	a := up.Announced[0].Attrs
	targets := make([]string, 0, 3)
	for _, rt := range a.RouteTargets {
		targets = append(targets, rt.String())
	}
	assert.Equal(t, []string{"65000:100", "10.0.0.1:7", "4200000000:7"}, targets)
	assert.Equal(t, []uint16{8}, a.Encaps)
	assert.Equal(t, evpn.Mobility{Sequence: 42, Sticky: true}, a.Mobility)
	assert.True(t, a.DefaultGateway)
	assert.True(t, a.Router)
	assert.Empty(t, up.Drops)
	gobgpAccepts(t, up)
}

// TestLongLivedStaleCommunities: they are read, written, and visible to GoBGP, which acts on them, too.
func TestLongLivedStaleCommunities(t *testing.T) {
	for name, c := range map[string]struct {
		octets    string
		stale, no bool
	}{
		"none":         {"c0 08 04 ffffff01", false, false},
		"stale":        {"c0 08 08 fde80001 ffff0006", true, false},
		"not retained": {"c0 08 04 ffff0007", false, true},
		"both":         {"c0 08 08 ffff0006 ffff0007", true, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := session()
			s.Transit = true
			up := parse(t, s, update(append(octets(t, origin, emptyAS, pref, c.octets, rt), reach(t, nlri2a)...)))
			require.Len(t, up.Announced, 1)
			a := up.Announced[0].Attrs
			assert.Equal(t, []bool{c.stale, c.no}, []bool{a.LLGRStale, a.NoLLGR})
			assert.True(t, bytes.Contains(up.Forward, octets(t, c.octets)))
			gobgpAccepts(t, up)
			again := parse(t, session(), one(t, wire.AppendUpdates(nil, up.Announced, ibgp())))
			require.Len(t, again.Announced, 1)
			assert.Equal(t, a, again.Announced[0].Attrs)
		})
	}
}

func TestNextHops(t *testing.T) {
	for name, c := range map[string]struct{ nh, want string }{
		"IPv4":                {"04 0a630001", "10.99.0.1"},
		"IPv6":                {"10 20010db8000000000000000000000001", "2001:db8::1"},
		"with link-local":     {"20 20010db8000000000000000000000001 fe800000000000000000000000000001", "2001:db8::1"},
		"IPv4 mapped in IPv6": {"10 00000000000000000000ffff0a630001", "10.99.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			v := octets(t, "0019 46", c.nh, "00", nlri2a)
			s := session()
			s.Transit = true
			up := parse(t, s, update(append(octets(t, goodAttr, "80 0e"), append([]byte{byte(len(v))}, v...)...)))
			require.Len(t, up.Announced, 1)
			assert.Equal(t, c.want, up.Announced[0].Attrs.NextHop.String())
			msg, err, panicked := gobgpParse(up.Forward, false)
			require.NoError(t, err)
			require.Nil(t, panicked)
			assert.Contains(t, forwardedNextHops(msg), c.want)
		})
	}
}

// TestTransitSwitches: a session that begins to reflect does not take forward forms from before.
func TestTransitSwitches(t *testing.T) {
	s := session()
	msg := update(append(octets(t, goodAttr), reach(t, nlri2a)...))
	for _, transit := range []bool{false, true, false, true} {
		s.Transit = transit
		up := parse(t, s, msg)
		require.Len(t, up.Announced, 1)
		require.Equal(t, transit, up.Forward != nil)
		if transit {
			assert.True(t, bytes.HasSuffix(up.Forward, octets(t, "c0 ff 0b", rt)))
		}
	}
}

// TestAttrsAreShared: routes of UPDATEs with the same attributes share one value.
func TestAttrsAreShared(t *testing.T) {
	s := session()
	a := parse(t, s, update(append(octets(t, goodAttr), reach(t, nlri2a)...))).Announced[0].Attrs
	b := parse(t, s, update(append(reach(t, nlri2b), octets(t, goodAttr)...))).Announced[0].Attrs
	c := parse(t, s, update(append(octets(t, origin, emptyAS, "40 05 04 00000065", rt), reach(t, nlri2a)...))).Announced[0].Attrs
	assert.Same(t, a, b)
	assert.NotSame(t, a, c)
}
