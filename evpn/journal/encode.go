package journal

import (
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// encoder writes one line.
type encoder struct {
	buf []byte
	// attrs are those that the line names. The routes of an UPDATE share theirs, so
	// they are written once, after the routes.
	attrs []*evpn.Attrs
	place map[*evpn.Attrs]int
}

// event appends the line of an event.
func (e *encoder) event(ev evpn.Event, at time.Time) {
	c := codecs().byType[reflect.TypeOf(ev)]
	if c == nil {
		panic("journal: unknown event " + reflect.TypeOf(ev).String())
	}
	v := reflect.New(c.typ).Elem() // addressable, so that values are not copied again
	v.Set(reflect.ValueOf(ev))
	e.begin(at)
	e.buf = append(e.buf, `,"event":"`...)
	e.buf = append(e.buf, c.name...)
	e.buf = append(e.buf, '"')
	c.body.writeFields(e, v, ',')
	e.writeTable()
	e.buf = append(e.buf, "}\n"...)
}

func (e *encoder) begin(at time.Time) {
	e.buf = append(e.buf, `{"at":"`...)
	e.buf = at.UTC().AppendFormat(e.buf, time.RFC3339Nano)
	e.buf = append(e.buf, '"')
}

func (e *encoder) drain(at time.Time) {
	e.begin(at)
	e.buf = append(e.buf, ",\"drain\":true}\n"...)
}

func (e *encoder) end(at time.Time, reason string) {
	e.begin(at)
	e.buf = append(e.buf, `,"end":`...)
	e.buf = quoted(e.buf, reason)
	e.buf = append(e.buf, "}\n"...)
}

// writeTable writes the attributes that the line's routes name.
func (e *encoder) writeTable() {
	if len(e.attrs) == 0 {
		return
	}
	s := codecs().structs[reflect.TypeFor[evpn.Attrs]()]
	e.buf = append(e.buf, `,"attrs":[`...)
	for i, a := range e.attrs {
		if i > 0 {
			e.buf = append(e.buf, ',')
		}
		s.write(e, reflect.ValueOf(a).Elem())
	}
	e.buf = append(e.buf, ']')
	clear(e.attrs)
	clear(e.place)
	e.attrs = e.attrs[:0]
}

func writeAttrs(e *encoder, v reflect.Value) {
	a := v.Interface().(*evpn.Attrs)
	i, known := e.place[a]
	if !known {
		if e.place == nil {
			e.place = map[*evpn.Attrs]int{}
		}
		i = len(e.attrs)
		e.place[a] = i
		e.attrs = append(e.attrs, a)
	}
	e.buf = strconv.AppendInt(e.buf, int64(i), 10)
}

func (s *structCodec) write(e *encoder, v reflect.Value) {
	e.buf = append(e.buf, '{')
	s.writeFields(e, v, 0)
	e.buf = append(e.buf, '}')
}

// writeFields writes the fields that are not zero, each after separator (0 = none) and
// all but the first after a comma.
func (s *structCodec) writeFields(e *encoder, v reflect.Value, separator byte) {
	for i := range s.fields {
		f := &s.fields[i]
		fv := v.Field(f.index)
		if isEmpty(fv) {
			continue
		}
		if separator != 0 {
			e.buf = append(e.buf, separator)
		}
		separator = ','
		e.buf = append(e.buf, f.key...)
		f.codec.write(e, fv)
	}
}

func isEmpty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	default:
		return v.IsZero()
	}
}

func listCodec(element codec) codec {
	return codec{
		write: func(e *encoder, v reflect.Value) {
			e.buf = append(e.buf, '[')
			for i := range v.Len() {
				if i > 0 {
					e.buf = append(e.buf, ',')
				}
				element.write(e, v.Index(i))
			}
			e.buf = append(e.buf, ']')
		},
		read: func(d *decoder, raw []byte, v reflect.Value) error { return d.list(raw, v, element) },
	}
}

// mapCodec writes in the order of the keys' text.
func mapCodec(key leaf, element codec) codec {
	return codec{
		write: func(e *encoder, v reflect.Value) {
			type entry struct {
				key   string
				value reflect.Value
			}
			var entries []entry
			for it := v.MapRange(); it.Next(); {
				k, val := reflect.New(v.Type().Key()), reflect.New(v.Type().Elem()).Elem()
				k.Elem().Set(it.Key())
				val.Set(it.Value())
				entries = append(entries, entry{string(key.write(nil, k.Interface())), val})
			}
			slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
			e.buf = append(e.buf, '{')
			for i, en := range entries {
				if i > 0 {
					e.buf = append(e.buf, ',')
				}
				e.buf = append(e.buf, '"')
				e.buf = append(e.buf, en.key...)
				e.buf = append(e.buf, `":`...)
				element.write(e, en.value)
			}
			e.buf = append(e.buf, '}')
		},
		read: func(d *decoder, raw []byte, v reflect.Value) error { return d.dictionary(raw, v, key, element) },
	}
}

func pointerCodec(s *structCodec) codec {
	return codec{
		write: func(e *encoder, v reflect.Value) { s.write(e, v.Elem()) },
		read: func(d *decoder, raw []byte, v reflect.Value) error {
			v.Set(reflect.New(v.Type().Elem()))
			return s.read(d, raw, v.Elem())
		},
	}
}

func writeBool(e *encoder, v reflect.Value) { e.buf = strconv.AppendBool(e.buf, v.Bool()) }
func writeInt(e *encoder, v reflect.Value)  { e.buf = strconv.AppendInt(e.buf, v.Int(), 10) }
func writeUint(e *encoder, v reflect.Value) { e.buf = strconv.AppendUint(e.buf, v.Uint(), 10) }

func writeString(e *encoder, v reflect.Value) { e.buf = quoted(e.buf, v.String()) }

// quoted appends s as a JSON string.
func quoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			q, _ := json.Marshal(s) // a string never fails; what is no UTF-8 is replaced
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
