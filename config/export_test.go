package config

import "reflect"

// Keys lists every table and key of the schema, such as "vni" and "vni.static_mac.ip".
func Keys() []string { return keysOf(reflect.TypeFor[rawConfig](), "") }

func keysOf(t reflect.Type, path string) []string {
	var keys []string
	for i := range t.NumField() {
		name, ok := keyOf(t.Field(i))
		if !ok {
			continue
		}
		keys = append(keys, join(path, name))
		if ft := t.Field(i).Type.Elem(); ft.Kind() == reflect.Struct {
			keys = append(keys, keysOf(ft, keys[len(keys)-1])...)
		}
	}
	return keys
}
