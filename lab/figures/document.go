package figures

import (
	"slices"
	"strings"
)

// notes marks the hand-written end of a document, which a new run keeps.
const notes = "## Notes"

// Section finds the section of a measurement in an older report: it bears the name in
// its heading, as (`name`, n = 3).
func Section(old, name string) string {
	for _, part := range split(old) {
		if nameOf(part) == name {
			return "## " + part
		}
	}
	return ""
}

// Put replaces the section of a measurement, or puts it behind all other sections.
// Section text begins with its heading.
func Put(old, name, text string) string {
	text = strings.TrimRight(text, "\n") + "\n"
	if before := Section(old, name); before != "" {
		return strings.Replace(old, strings.TrimRight(before, "\n")+"\n", text, 1)
	}
	if i := strings.Index(old, notes); i >= 0 {
		return old[:i] + text + "\n" + old[i:]
	}
	return strings.TrimRight(old, "\n") + "\n\n" + text
}

// Others gives the sections of measurements that none of names is the name of: another
// program has written them.
func Others(old string, names []string) string {
	var b strings.Builder
	for _, part := range split(old) {
		if name := nameOf(part); name != "" && !slices.Contains(names, name) {
			b.WriteString("\n## " + part)
		}
	}
	return b.String()
}

// Notes gives the hand-written end.
func Notes(old string) string {
	if i := strings.Index(old, notes); i >= 0 {
		return "\n" + old[i:]
	}
	return ""
}

// split gives the sections, without their marks.
func split(document string) []string {
	if i := strings.Index(document, notes); i >= 0 {
		document = document[:i]
	}
	parts := strings.Split(document, "\n## ")[1:]
	for i := range parts {
		parts[i] = strings.TrimRight(parts[i], "\n") + "\n"
	}
	return parts
}

func nameOf(section string) string {
	head, _, _ := strings.Cut(section, "\n")
	_, behind, found := strings.Cut(head, "(`")
	name, _, closed := strings.Cut(behind, "`,")
	if !found || !closed {
		return ""
	}
	return name
}

// Capital makes the first letter a capital one.
func Capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
