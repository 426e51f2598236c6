package journal

import (
	"strings"
	"unicode"
)

// snake gives the name in a recording for a Go name: RouterID is router_id, EndOfRIB is
// end_of_rib, StaticMACs is static_macs.
func snake(name string) string {
	runes := []rune(name)
	var b strings.Builder
	for i, r := range runes {
		if unicode.IsUpper(r) && i > 0 && startsWord(runes, i) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// startsWord reports whether the capital at i begins a word: it does after a small
// letter, and at the end of an abbreviation when a word other than its plural follows.
func startsWord(runes []rune, i int) bool {
	if !unicode.IsUpper(runes[i-1]) {
		return true
	}
	if i+1 == len(runes) || unicode.IsUpper(runes[i+1]) {
		return false
	}
	plural := runes[i+1] == 's' && (i+2 == len(runes) || unicode.IsUpper(runes[i+2]))
	return unicode.IsLetter(runes[i+1]) && !plural
}
