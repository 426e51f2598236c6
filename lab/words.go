package lab

import (
	"errors"
	"strings"
)

var errQuote = errors.New("a quote is not closed")

// words splits a command line the way containerlab does before it hands it to the
// container engine: blanks, single and double quotes, backslash. No shell is
// involved, so `$`, `|`, `&&` and `*` mean nothing.
func words(line string) ([]string, error) {
	var (
		out   []string
		word  strings.Builder
		begun bool
		quote rune
		esc   bool
	)
	for _, c := range line {
		switch {
		case esc:
			// Inside double quotes a backslash is itself unless it protects
			// something (POSIX shell command language 2.2.3).
			if quote == '"' && c != '"' && c != '\\' {
				word.WriteRune('\\')
			}
			word.WriteRune(c)
			esc = false
		case c == '\\' && quote != '\'':
			esc, begun = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '\'' || c == '"':
			quote, begun = c, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if begun {
				out = append(out, word.String())
				word.Reset()
				begun = false
			}
		default:
			word.WriteRune(c)
			begun = true
		}
	}
	if quote != 0 || esc {
		return nil, errQuote
	}
	if begun {
		out = append(out, word.String())
	}
	return out, nil
}
