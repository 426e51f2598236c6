package config

import (
	"fmt"
	"reflect"
	"strings"
)

// decode fills dst, a raw struct, from the values of one table. Each value of a
// wrong type is a problem of its own and leaves its field unset. It is strict
// where viper is not: no string becomes a number, and a key counts only as it
// was spelled in the file.
func decode(sc scope, values map[string]any, dst reflect.Value) {
	dst.Addr().Interface().(interface{ setScope(scope) }).setScope(sc)
	for i := range dst.NumField() {
		name, ok := keyOf(dst.Type().Field(i))
		if !ok {
			continue
		}
		key := sc.key(name)
		if _, ok := sc.doc.lines[key]; ok {
			decodeValue(sc, key, values[name], dst.Field(i))
		}
	}
}

// keyOf is the key of a field of a raw struct.
func keyOf(f reflect.StructField) (string, bool) { return f.Tag.Lookup("toml") }

func decodeValue(sc scope, key string, value any, dst reflect.Value) {
	wrong := func(want string) { sc.problem(key, "want %s, got %s", want, describe(value)) }
	switch dst.Interface().(type) {
	case *string:
		setScalar[string](value, dst, wrong, `a string in quotes`)
		return
	case *int64:
		setScalar[int64](value, dst, wrong, "an integer")
		return
	case *bool:
		setScalar[bool](value, dst, wrong, "true or false")
		return
	case *[]string:
		decodeStrings(sc, key, value, dst, wrong)
		return
	}
	inner := sc
	inner.path = key
	if dst.Kind() == reflect.Pointer { // a table; viper drops empty ones
		table, ok := value.(map[string]any)
		if !ok && value != nil {
			wrong("a table")
			return
		}
		dst.Set(reflect.New(dst.Type().Elem()))
		decode(inner, table, dst.Elem())
		return
	}
	elems, ok := value.([]any)
	if !ok {
		wrong(fmt.Sprintf("an array of tables: write [[%s]]", key))
		return
	}
	dst.Set(reflect.MakeSlice(dst.Type(), len(elems), len(elems)))
	for i, e := range elems {
		inner.path = fmt.Sprintf("%s[%d]", key, i)
		table, ok := e.(map[string]any)
		if !ok {
			sc.problem(inner.path, "want a table, got %s", describe(e))
		}
		decode(inner, table, dst.Index(i))
	}
}

func setScalar[T any](value any, dst reflect.Value, wrong func(string), want string) {
	v, ok := value.(T)
	if !ok {
		wrong(want)
		return
	}
	dst.Set(reflect.ValueOf(&v))
}

func decodeStrings(sc scope, key string, value any, dst reflect.Value, wrong func(string)) {
	elems, ok := value.([]any)
	if !ok {
		wrong("an array of strings")
		return
	}
	list := make([]string, len(elems))
	for i, e := range elems {
		s, ok := e.(string)
		if !ok {
			elem := fmt.Sprintf("%s[%d]", key, i)
			sc.problem(elem, "want a string in quotes, got %s", describe(e))
		}
		list[i] = s
	}
	dst.Set(reflect.ValueOf(&list))
}

func describe(value any) string {
	switch v := value.(type) {
	case string:
		return fmt.Sprintf("the string %q", v)
	case int64:
		return fmt.Sprintf("the integer %d", v)
	case float64:
		return fmt.Sprintf("the number %v", v)
	case bool:
		return fmt.Sprint(v)
	case []any:
		return "an array"
	case map[string]any, nil:
		return "a table"
	default:
		return "a date or time"
	}
}

// unknownKeys reports every key of the file that the raw struct t has no field
// for. Keys inside an unknown table are not reported one by one.
func unknownKeys(sc scope, t reflect.Type) {
	reported := map[string]bool{}
	for _, p := range sc.doc.keys {
		table, ok := schemaAt(t, p.table)
		if !ok {
			continue
		}
		if _, known := fieldType(table, p.name); known {
			continue
		}
		key := join(p.table, p.name)
		if reported[key] {
			continue
		}
		reported[key] = true
		if misplacedVNI(table, p) { // its id is not missing but one level too deep
			sc.report.seen[seenKey{sc.doc.file, "id"}] = true
		}
		sc.report.add(Problem{File: sc.doc.file, Line: p.line, Key: key, Message: unknownMessage(table, p)})
	}
}

func unknownMessage(table reflect.Type, p position) string {
	if misplacedVNI(table, p) {
		return "this file holds the keys of one VNI at its top level: remove the [[vni]] header and write [[static_vtep]] for [[vni.static_vtep]]"
	}
	var known []string
	for i := range table.NumField() {
		if name, ok := keyOf(table.Field(i)); ok {
			known = append(known, name)
		}
	}
	if near := nearest(p.name, known); near != "" {
		return fmt.Sprintf("unknown key; did you mean %q?", near)
	}
	return "unknown key; known here: " + strings.Join(known, ", ")
}

// misplacedVNI reports a [[vni]] header in a file of vni.d.
func misplacedVNI(table reflect.Type, p position) bool {
	return table == reflect.TypeFor[rawVNI]() && p.table == "" && p.name == "vni"
}

// schemaAt finds the raw struct that the table at path belongs to.
func schemaAt(t reflect.Type, path string) (reflect.Type, bool) {
	if path == "" {
		return t, true
	}
	for name := range strings.SplitSeq(path, ".") {
		name, _, _ = strings.Cut(name, "[")
		f, ok := fieldType(t, name)
		if !ok || (f.Kind() != reflect.Pointer && f.Kind() != reflect.Slice) {
			return nil, false
		}
		if t = f.Elem(); t.Kind() != reflect.Struct {
			return nil, false
		}
	}
	return t, true
}

func fieldType(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		if name, ok := keyOf(t.Field(i)); ok && name == key {
			return t.Field(i).Type, true
		}
	}
	return nil, false
}

// nearest is the candidate that s was most likely meant to be, "" when none is
// near: at most a third of its letters differ.
func nearest(s string, candidates []string) string {
	best, bestDistance := "", len(s)
	norm := strings.ReplaceAll(strings.ToLower(s), "-", "_")
	for _, c := range candidates {
		d := distance(norm, c)
		if strings.HasPrefix(c, norm) && len(norm) >= 3 {
			d = 1
		}
		if d < bestDistance && d <= max(1, len(c)/3) {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b in octets.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
