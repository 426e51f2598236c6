package config

import (
	"fmt"
	"time"
)

// The functions of this file read one optional key each: its value when it is
// right, a problem and the zero value when it is wrong, the default when it is
// not there.

func value[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}

func intKey(s scope, name string, p *int64, absent, least, most int64) int64 {
	if p == nil {
		return absent
	}
	if *p < least || *p > most {
		s.problem(s.key(name), "want %d to %d, got %d", least, most, *p)
		return absent
	}
	return *p
}

func asnKey(s scope, p *int64, want string) uint32 {
	if p == nil {
		s.missing("asn", want)
		return 0
	}
	if *p == asTrans {
		s.problem(s.key("asn"), "%d is AS_TRANS, which stands for 4-octet numbers and is nobody's (RFC 6793)", *p)
		return 0
	}
	return uint32(intKey(s, "asn", p, 0, 1, maxASN))
}

func durationKey(s scope, name string, p *string, absent, least, most time.Duration) time.Duration {
	return textKey(s, name, p, absent, func(t string) (time.Duration, error) {
		return parseDuration(t, time.Second, least, most)
	})
}

// intervalKey is durationKey for times finer than a second.
func intervalKey(s scope, name string, p *string, absent, least, most time.Duration) time.Duration {
	return textKey(s, name, p, absent, func(t string) (time.Duration, error) {
		return parseDuration(t, time.Millisecond, least, most)
	})
}

// wordKey reads one of a few words, the default first.
func wordKey[T ~string](s scope, name string, p *string, words ...T) T {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return T(checkedKey(s, name, p, texts[0], oneOf(texts...)))
}

func textKey[T any](s scope, name string, p *string, absent T, parse func(string) (T, error)) T {
	if p == nil {
		return absent
	}
	v, err := parse(*p)
	if err != nil {
		s.problem(s.key(name), "%v", err)
		var zero T
		return zero
	}
	return v
}

func checkedKey(s scope, name string, p *string, absent string, check func(string) error) string {
	return textKey(s, name, p, absent, func(t string) (string, error) { return t, check(t) })
}

// listKey reads a list; also is called with the key of every good element.
func listKey[T any](s scope, name string, p *[]string, parse func(string) (T, error), also func(key string, v T)) []T {
	if p == nil {
		return nil
	}
	var list []T
	for i, text := range *p {
		key := s.keyAt(name, i)
		if s.report.has(s.doc.file, key) { // was not even a string
			continue
		}
		v, err := parse(text)
		if err != nil {
			s.problem(key, "%v", err)
			continue
		}
		also(key, v)
		list = append(list, v)
	}
	return list
}

// idle reports name when p is there though another key leaves it without effect.
func idle[T any](s scope, name string, p *T, why string) {
	if p != nil {
		s.problem(s.key(name), "%s", why)
	}
}

// required reports name when p is absent.
func required[T any](s scope, name string, p *T, format string, args ...any) {
	if p == nil {
		s.missing(name, fmt.Sprintf(format, args...))
	}
}
