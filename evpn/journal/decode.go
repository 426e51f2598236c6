package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// decoder reads one line.
type decoder struct {
	path  []string      // where it is, for messages
	named []attrsByName // to be filled in when the whole line is read
}

type attrsByName struct {
	into  reflect.Value
	place uint64
	path  string
}

// record reads a line that is not the header.
func (d *decoder) record(line []byte) (r Record, err error) {
	keys, err := object(line)
	if err != nil {
		return r, err
	}
	take := func(key string) []byte {
		raw := keys[key]
		delete(keys, key)
		return raw
	}
	at, err := text(take(keyAt))
	if err == nil {
		r.At, err = parseTime(at)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", keyAt, err)
	}
	event, drain, end := take(keyEvent), take(keyDrain), take(keyEnd)
	switch {
	case event != nil && drain == nil && end == nil:
		r.Event, err = d.event(event, keys)
		return r, err
	case drain != nil && event == nil && end == nil:
		r.Drain = true
		if string(drain) != "true" {
			err = fmt.Errorf("%s: want true, got %s", keyDrain, clip(drain))
		}
	case end != nil && event == nil && drain == nil:
		if r.End, err = text(end); err == nil && r.End == "" {
			err = fmt.Errorf("%s: want a reason", keyEnd)
		}
	default:
		return r, fmt.Errorf("want one of %q, %q and %q", keyEvent, keyDrain, keyEnd)
	}
	if err == nil && len(keys) > 0 {
		err = d.unknown(keys, []string{keyAt})
	}
	return r, err
}

func (d *decoder) event(name []byte, keys map[string]json.RawMessage) (evpn.Event, error) {
	s, err := text(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyEvent, err)
	}
	t := codecs()
	c := t.byName[s]
	if c == nil {
		return nil, fmt.Errorf("unknown event %q: want one of %s", s, strings.Join(slices.Sorted(maps.Keys(t.byName)), ", "))
	}
	table := keys[keyAttrs]
	delete(keys, keyAttrs)
	v := reflect.New(c.typ).Elem()
	if err := c.body.readFields(d, keys, v); err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	if err := d.fillIn(table); err != nil {
		return nil, fmt.Errorf("%s: %w", s, err)
	}
	ev := v.Interface().(evpn.Event)
	if r, ok := ev.(evpn.RoutesReceived); ok {
		for i := range r.Announced {
			if r.Announced[i].Attrs == nil {
				return nil, fmt.Errorf("%s: announced[%d].attrs: missing", s, i)
			}
		}
	}
	return ev, nil
}

// fillIn gives the routes of the line the attributes that they name.
func (d *decoder) fillIn(table []byte) error {
	var attrs []*evpn.Attrs
	if table != nil {
		var list []evpn.Attrs
		c := codecs().of(reflect.TypeFor[[]evpn.Attrs]())
		if err := d.value(keyAttrs, c, table, reflect.ValueOf(&list).Elem()); err != nil {
			return err
		}
		for i := range list {
			attrs = append(attrs, &list[i])
		}
	}
	for _, n := range d.named {
		if n.place >= uint64(len(attrs)) {
			return fmt.Errorf("%s: there is no attrs[%d]", n.path, n.place)
		}
		n.into.Set(reflect.ValueOf(attrs[n.place]))
	}
	return nil
}

func readAttrs(d *decoder, raw []byte, v reflect.Value) error {
	n, err := strconv.ParseUint(string(raw), 10, 32)
	if err != nil {
		return fmt.Errorf("want the place of the attributes in the line's list %q, got %s", keyAttrs, clip(raw))
	}
	d.named = append(d.named, attrsByName{into: v, place: n, path: d.at()})
	return nil
}

// at names where the decoder is.
func (d *decoder) at() string {
	var b strings.Builder
	for i, p := range d.path {
		if i > 0 && !strings.HasPrefix(p, "[") {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

// value reads one value and says in an error where it was. Errors from further
// inside have said so already.
func (d *decoder) value(step string, c codec, raw []byte, v reflect.Value) error {
	d.path = append(d.path, step)
	err := c.read(d, raw, v)
	if located := (*placed)(nil); err != nil && !errors.As(err, &located) {
		err = &placed{path: d.at(), err: err}
	}
	d.path = d.path[:len(d.path)-1]
	return err
}

// placed is an error that knows where it was.
type placed struct {
	path string
	err  error
}

func (p *placed) Error() string { return p.path + ": " + p.err.Error() }
func (p *placed) Unwrap() error { return p.err }

func (s *structCodec) read(d *decoder, raw []byte, v reflect.Value) error {
	keys, err := object(raw)
	if err != nil {
		return err
	}
	return s.readFields(d, keys, v)
}

func (s *structCodec) readFields(d *decoder, keys map[string]json.RawMessage, v reflect.Value) error {
	for i := range s.fields {
		f := &s.fields[i]
		raw, ok := keys[f.name]
		if !ok {
			continue
		}
		delete(keys, f.name)
		if err := d.value(f.name, f.codec, raw, v.Field(f.index)); err != nil {
			return err
		}
	}
	if len(keys) > 0 {
		known := make([]string, len(s.fields))
		for i := range s.fields {
			known[i] = s.fields[i].name
		}
		return d.unknown(keys, known)
	}
	return nil
}

func (d *decoder) unknown(keys map[string]json.RawMessage, known []string) error {
	name := slices.Min(slices.Collect(maps.Keys(keys)))
	err := fmt.Errorf("unknown field %q: want one of %s", name, strings.Join(known, ", "))
	if len(known) == 0 {
		err = fmt.Errorf("unknown field %q: there are none", name)
	}
	if len(d.path) == 0 {
		return err
	}
	return &placed{path: d.at(), err: err}
}

func (d *decoder) list(raw []byte, v reflect.Value, element codec) error {
	var raws []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &raws) != nil {
		return fmt.Errorf("want a list, got %s", clip(raw))
	}
	v.Set(reflect.MakeSlice(v.Type(), len(raws), len(raws)))
	for i, r := range raws {
		if err := d.value("["+strconv.Itoa(i)+"]", element, r, v.Index(i)); err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) dictionary(raw []byte, v reflect.Value, key leaf, element codec) error {
	keys, err := object(raw)
	if err != nil {
		return err
	}
	v.Set(reflect.MakeMap(v.Type()))
	for name, r := range keys {
		k, val := reflect.New(v.Type().Key()), reflect.New(v.Type().Elem()).Elem()
		if err := key.parse(name, k.Interface()); err != nil {
			return err
		}
		if err := d.value(name, element, r, val); err != nil {
			return err
		}
		v.SetMapIndex(k.Elem(), val)
	}
	return nil
}

// object splits a JSON object into its keys.
func object(raw []byte) (keys map[string]json.RawMessage, err error) {
	if err := json.Unmarshal(raw, &keys); err != nil || keys == nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			return nil, fmt.Errorf("no valid JSON: %w", err)
		}
		return nil, fmt.Errorf("want a JSON object, got %s", clip(raw))
	}
	return keys, nil
}

// text reads a JSON string.
func text(raw []byte) (s string, err error) {
	switch {
	case raw == nil:
		return "", errors.New("missing")
	case raw[0] != '"':
		return "", fmt.Errorf("want a string, got %s", clip(raw))
	}
	return s, json.Unmarshal(raw, &s)
}

func readString(_ *decoder, raw []byte, v reflect.Value) error {
	s, err := text(raw)
	v.SetString(s)
	return err
}

func readBool(_ *decoder, raw []byte, v reflect.Value) error {
	switch string(raw) {
	case "true", "false":
		v.SetBool(raw[0] == 't')
		return nil
	default:
		return fmt.Errorf("want true or false, got %s", clip(raw))
	}
}

func readInt(_ *decoder, raw []byte, v reflect.Value) error {
	n, err := strconv.ParseInt(string(raw), 10, v.Type().Bits())
	if err != nil {
		return fmt.Errorf("want a whole number, got %s", clip(raw))
	}
	v.SetInt(n)
	return nil
}

func readUint(_ *decoder, raw []byte, v reflect.Value) error {
	highest := uint64(1)<<v.Type().Bits() - 1
	if v.Type() == reflect.TypeFor[evpn.VNI]() {
		highest = uint64(evpn.MaxVNI)
	}
	n, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil || n > highest {
		return fmt.Errorf("want a whole number from 0 to %d, got %s", highest, clip(raw))
	}
	v.SetUint(n)
	return nil
}

// clip shortens what an error quotes.
func clip(raw []byte) string {
	const most = 40
	raw = bytes.TrimSpace(raw)
	if len(raw) > most {
		return strings.ToValidUTF8(string(raw[:most]), "?") + "…"
	}
	return string(raw)
}
