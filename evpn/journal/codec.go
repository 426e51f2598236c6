package journal

import (
	"fmt"
	"reflect"
	"sync"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// eventTypes lists every event there is; a test compares it with the package evpn.
var eventTypes = []evpn.Event{
	evpn.ConfigReplaced{}, evpn.VNIState{}, evpn.LocalMACLearned{}, evpn.LocalMACGone{}, evpn.LocalIPLearned{},
	evpn.LocalIPGone{}, evpn.RoutesReceived{}, evpn.NeighborUp{}, evpn.NeighborDown{}, evpn.NeighborRemoved{},
	evpn.EndOfRIB{}, evpn.DuplicateCleared{}, evpn.NextHopState{}, evpn.NeighborRestored{},
	evpn.MACRestored{}, evpn.IPRestored{}, evpn.SyncRestored{}, evpn.RelayRestored{}, evpn.VTEPHeard{}, evpn.VTEPSilent{},
	evpn.MACHeard{}, evpn.MACSilent{}, evpn.ReplicatorRestored{}, evpn.PlaceRestored{}, evpn.EngineState{}, evpn.Tick{},
}

// Keys of a line beside the fields of its event.
const (
	keyAt    = "at"
	keyEvent = "event"
	keyDrain = "drain"
	keyEnd   = "end"
	keyAttrs = "attrs" // the attributes that the routes of the line name by their place
)

// eventCodec is one kind of event.
type eventCodec struct {
	name string
	typ  reflect.Type
	body *structCodec
}

// structCodec is how the fields of a struct are written and read, in the order of Go.
type structCodec struct {
	fields []field
	byName map[string]*field
}

type field struct {
	name  string
	key   []byte // `"name":`
	index int
	codec codec
}

// codec writes and reads one type of value.
type codec struct {
	write func(*encoder, reflect.Value)
	read  func(*decoder, []byte, reflect.Value) error // of valid JSON
}

// codecs are made of the Go types once, when first needed.
var codecs = sync.OnceValue(func() *codecTable {
	t := &codecTable{byType: map[reflect.Type]*eventCodec{}, byName: map[string]*eventCodec{}, structs: map[reflect.Type]*structCodec{}}
	for _, ev := range eventTypes {
		typ := reflect.TypeOf(ev)
		c := &eventCodec{name: snake(typ.Name()), typ: typ, body: t.structOf(typ)}
		t.byType[typ], t.byName[c.name] = c, c
	}
	return t
})

type codecTable struct {
	byType  map[reflect.Type]*eventCodec
	byName  map[string]*eventCodec
	structs map[reflect.Type]*structCodec
}

func (t *codecTable) structOf(typ reflect.Type) *structCodec {
	if s := t.structs[typ]; s != nil {
		return s
	}
	s := &structCodec{byName: map[string]*field{}}
	t.structs[typ] = s
	for i := range typ.NumField() {
		name := snake(typ.Field(i).Name)
		s.fields = append(s.fields, field{name: name, key: []byte(`"` + name + `":`), index: i, codec: t.of(typ.Field(i).Type)})
	}
	for i := range s.fields {
		s.byName[s.fields[i].name] = &s.fields[i]
	}
	return s
}

// of gives the codec of a type. A type that events do not have so far is a mistake of
// ours, which every test of the package finds.
func (t *codecTable) of(typ reflect.Type) codec {
	if l, ok := leaves[typ]; ok {
		return l.codec()
	}
	switch typ.Kind() {
	case reflect.Bool:
		return codec{writeBool, readBool}
	case reflect.String:
		return codec{writeString, readString}
	case reflect.Int, reflect.Int64:
		return codec{writeInt, readInt}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return codec{writeUint, readUint}
	case reflect.Struct:
		s := t.structOf(typ)
		return codec{s.write, s.read}
	case reflect.Slice:
		return listCodec(t.of(typ.Elem()))
	case reflect.Map:
		return mapCodec(leaves[typ.Key()], t.of(typ.Elem()))
	case reflect.Pointer:
		s := t.structOf(typ.Elem())
		if typ == reflect.TypeFor[*evpn.Attrs]() {
			return codec{writeAttrs, readAttrs}
		}
		return pointerCodec(s)
	default:
		panic(fmt.Sprintf("journal: an event holds a %s, which nothing here can write", typ))
	}
}
