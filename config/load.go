package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/viper"
)

// Stdin is the path that stands for standard input.
const Stdin = "-"

// maxFile bounds what is read: a configuration is never that large, and a path
// given by mistake (a device, a disk image) should not fill memory.
const maxFile = 64 << 20

// Load reads the main file at path and the files of vni.d beside it, or only
// stdin when path is "-". The error is of type [Problems].
func Load(path string, stdin io.Reader) (*Config, error) {
	rep := newReport()
	raw := rawConfig{scope: scope{doc: &document{file: path}, report: rep}}
	text, ok := readAll(rep, path, stdin)
	if ok {
		ok = parse(rep, path, text, reflect.ValueOf(&raw).Elem())
	}
	dir := ""
	if path != Stdin {
		dir = filepath.Dir(path)
		raw.VNI = append(raw.VNI, loadVNIs(rep, filepath.Join(dir, "vni.d"))...)
	}
	if !ok { // what the other files contradict is not known without this one
		return nil, rep.err()
	}
	cfg := validate(&raw, dir)
	if err := rep.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

// loadVNIs reads *.toml of dir in order of name. That there is no dir is no problem.
func loadVNIs(rep *report, dir string) []rawVNI {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		rep.add(Problem{File: dir, Message: fmt.Sprintf("cannot read: %v", cause(err))})
	}
	var vnis []rawVNI
	for _, e := range entries {
		name := e.Name()
		if filepath.Ext(name) != ".toml" || strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(dir, name)
		text, ok := readAll(rep, path, nil)
		if !ok {
			continue
		}
		var vni rawVNI
		if parse(rep, path, text, reflect.ValueOf(&vni).Elem()) {
			vnis = append(vnis, vni)
		}
	}
	return vnis
}

func readAll(rep *report, path string, stdin io.Reader) (text []byte, ok bool) {
	var err error
	if path == Stdin {
		if stdin == nil {
			stdin = strings.NewReader("")
		}
		text, err = io.ReadAll(io.LimitReader(stdin, maxFile+1))
	} else {
		var f *os.File
		if f, err = os.Open(path); err == nil {
			defer func() { _ = f.Close() }() // only read
			text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		rep.add(Problem{File: path, Message: `no such file: write one, "vtepbgp config example" prints a commented start`})
	case err != nil:
		rep.add(Problem{File: path, Message: fmt.Sprintf("cannot read: %v", cause(err))})
	case len(text) > maxFile:
		rep.add(Problem{File: path, Message: fmt.Sprintf("larger than %d MiB: not a configuration", maxFile>>20)})
	default:
		return text, true
	}
	return nil, false
}

// cause drops the "open PATH:" of an error whose path is named anyway.
func cause(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// parse fills dst, a raw struct, from text. It is false when text is no TOML.
func parse(rep *report, file string, text []byte, dst reflect.Value) bool {
	values, err := readTOML(text)
	if err != nil {
		p := Problem{File: file, Message: strings.TrimPrefix(err.Error(), "toml: ")}
		if de, ok := errors.AsType[*toml.DecodeError](err); ok {
			p.Line, _ = de.Position()
			p.Message = "not valid TOML: " + strings.TrimPrefix(de.Error(), "toml: ")
		}
		rep.add(p)
		return false
	}
	sc := scope{doc: scanDocument(file, text), report: rep}
	unknownKeys(sc, dst.Type())
	decode(sc, values, dst)
	return true
}

// readTOML reads with an instance of viper of its own. The delimiter is a
// character that no key of ours has, so that keys and values with dots in them
// stay whole.
func readTOML(text []byte) (map[string]any, error) {
	v := viper.NewWithOptions(viper.KeyDelimiter("\x00"))
	v.SetConfigType("toml")
	if err := v.ReadConfig(strings.NewReader(string(text))); err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner
		}
		return nil, err
	}
	return v.AllSettings(), nil
}
