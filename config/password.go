package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// password reads the TCP MD5 password of a neighbour from either key. It never
// appears in a message.
func (r *rawNeighbor) password(n *Neighbor, dir string) {
	if r.Password != nil && r.PasswordFile != nil {
		r.problem(r.key("password_file"), "contradicts password: keep one of the two")
		return
	}
	if r.Password != nil {
		n.Password = *r.Password
		if err := checkPassword(n.Password); err != nil {
			r.problem(r.key("password"), "%v", err)
		}
	}
	if r.PasswordFile != nil {
		key := r.key("password_file")
		path, password, err := readPassword(*r.PasswordFile, dir)
		if err == nil {
			err = checkPassword(password)
		}
		if err != nil {
			r.problem(key, "%v", err)
			return
		}
		n.PasswordFile, n.Password = path, password
	}
}

// readPassword gives the content of a file without its trailing newline. A
// relative path starts at the folder of the main file, or at the working
// directory when that is standard input.
func readPassword(path, dir string) (abs, password string, err error) {
	if path == "" {
		return "", "", errors.New("want the path of a file that holds the password, got an empty string")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if abs, err = filepath.Abs(path); err != nil {
		return "", "", err
	}
	info, err := os.Stat(abs)
	if err == nil && !info.Mode().IsRegular() {
		return "", "", fmt.Errorf("%s is not a regular file: want one that holds the password", abs)
	}
	var text []byte
	if err == nil {
		text, err = os.ReadFile(abs)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", "", fmt.Errorf("no such file: %s", abs)
	case err != nil:
		return "", "", fmt.Errorf("cannot read %s: %w", abs, cause(err))
	}
	password = strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if password == "" {
		return "", "", fmt.Errorf("%s is empty: want one line, the password", abs)
	}
	return abs, password, nil
}

func checkPassword(s string) error {
	switch {
	case s == "":
		return errors.New("want a password, got an empty string: remove the key for none")
	case len(s) > maxPasswordOctets:
		return fmt.Errorf("want at most %d octets (a limit of the kernel), got %d", maxPasswordOctets, len(s))
	case strings.ContainsAny(s, "\n\r\x00"):
		return errors.New("want one line without control characters")
	}
	return nil
}
