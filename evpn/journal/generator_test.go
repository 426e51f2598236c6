package journal_test

import (
	"math/rand/v2"
	"net/netip"
	"reflect"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
	"github.com/vtepbgp/vtepbgp/evpn/journal"
)

// generator fills values of any type that events have.
type generator struct {
	*rand.Rand
	attrs *evpn.Attrs
}

func newGenerator(seed uint64) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 1))}
}

// events gives one of each kind.
func (g *generator) events() (evs []evpn.Event) {
	for _, ev := range journal.EventTypes {
		v := reflect.New(reflect.TypeOf(ev)).Elem()
		g.fill(v)
		evs = append(evs, v.Interface().(evpn.Event))
	}
	return evs
}

// constant is no source of chance at all: every field has a value, and one that is new
// changes no other.
type constant struct{}

func (constant) Uint64() uint64 { return 0x5555555555555555 }

func (g *generator) fill(v reflect.Value) {
	required := v.Type() == reflect.TypeFor[*evpn.Attrs]() || v.Type() == reflect.TypeFor[evpn.Route]()
	if !required && g.IntN(4) == 0 {
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *netip.Addr:
		*p = g.addr()
		return
	case *netip.Prefix:
		*p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(g.IntN(256))}), g.IntN(129))
		return
	case *time.Time:
		*p = start.Add(time.Duration(1 + g.Int64N(1e18))).UTC()
		return
	case *time.Duration:
		*p = time.Duration(1 + g.Int64N(1e15))
		return
	case *evpn.VNI:
		*p = evpn.VNI(1 + g.Uint32N(uint32(evpn.MaxVNI)))
		return
	case *evpn.ImportTarget: // one or the other
		if g.IntN(2) == 0 {
			*p = evpn.ImportTarget{AnyAdmin: true, Number: g.Uint32()}
		} else {
			g.octets(reflect.ValueOf(&p.Exact).Elem())
		}
		return
	case **evpn.Attrs: // shared, as the routes of an UPDATE do
		if g.attrs == nil || g.IntN(3) == 0 {
			g.attrs = &evpn.Attrs{}
			g.fill(reflect.ValueOf(g.attrs).Elem())
		}
		*p = g.attrs
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString([]string{"veth1", "br \"x\"\n", "naïve", "\x00", "<&>"}[g.IntN(5)])
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + g.Int64N(1<<40) - 1<<39)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(1 + g.Uint64N(1<<v.Type().Bits()-1))
	case reflect.Array:
		g.octets(v)
	case reflect.Struct:
		for i := range v.NumField() {
			g.fill(v.Field(i))
		}
	case reflect.Slice:
		n := 1 + g.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			g.fill(v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range 1 + g.IntN(3) {
			k, e := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			k.Set(reflect.ValueOf(g.addr()))
			g.fill(e)
			v.SetMapIndex(k, e)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		g.fill(v.Elem())
	default:
		panic(v.Type().String())
	}
}

// octets are often small, so that types and numbers meet at their borders.
func (g *generator) octets(v reflect.Value) {
	for i := range v.Len() {
		b := g.Uint32N(256)
		if g.IntN(2) == 0 {
			b = g.Uint32N(3)
		}
		v.Index(i).SetUint(uint64(b))
	}
	v.Index(v.Len() - 1).SetUint(1)
}

func (g *generator) addr() netip.Addr {
	switch g.IntN(4) {
	case 0:
		return netip.AddrFrom4([4]byte{10, 0, 0, byte(g.IntN(256))})
	case 1:
		return netip.AddrFrom16([16]byte{0xfe, 0x80, 15: byte(g.IntN(256))}).WithZone("eth\"0")
	case 2:
		return netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 10, 15: byte(g.IntN(256))})
	default:
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(g.IntN(256))})
	}
}
