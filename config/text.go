package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// The readers of this file turn one text into one value. Their errors say what
// would have been right and do not repeat the key.

// parseUnicast reads an address that a host can have and others can reach.
func parseUnicast(s string) (netip.Addr, error) {
	return parseAddress(s, checkUnicast)
}

func parseAddress(s string, check func(netip.Addr) error) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf(`want an IPv4 or IPv6 address such as "10.0.0.1" or "2001:db8::1", got %q`, s)
	}
	if err := check(a); err != nil {
		return netip.Addr{}, err
	}
	return a, nil
}

func checkUnicast(a netip.Addr) error {
	switch {
	case a.Zone() != "":
		return fmt.Errorf("want an address without zone, got %q", a)
	case a.Is4In6():
		return fmt.Errorf("want %q, the plain form of %q", a.Unmap(), a)
	case a.IsMulticast():
		return fmt.Errorf("want a unicast address, got the multicast address %s", a)
	case a.IsUnspecified():
		return fmt.Errorf("want the address of a host, got the unspecified address %s", a)
	case a.Is4() && a.As4()[0] >= 240:
		return fmt.Errorf("want a unicast address, got %s", a)
	}
	return nil
}

// parseVTEP reads an address that can be a tunnel endpoint on another host.
func parseVTEP(s string) (netip.Addr, error) { return parseAddress(s, CheckVTEP) }

// CheckVTEP says why an address cannot be a tunnel endpoint on another host.
func CheckVTEP(a netip.Addr) error {
	if err := checkUnicast(a); err != nil {
		return err
	}
	switch {
	case a.IsLoopback():
		return fmt.Errorf("want an address that other hosts reach, got the loopback address %s", a)
	case a.IsLinkLocalUnicast():
		return fmt.Errorf("want an address that is valid beyond one link, got the link-local address %s", a)
	}
	return nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil || p.Addr().Is4In6():
		return netip.Prefix{}, fmt.Errorf(`want a prefix such as "10.0.0.0/24", got %q`, s)
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("bits beyond the prefix length are set: want %q", p.Masked().String())
	case p.Bits() > 0 && p.Addr().IsMulticast():
		return netip.Prefix{}, fmt.Errorf("want a prefix of unicast addresses, got %s", p)
	}
	return p, nil
}

// parseDuration reads a duration of whole units, seconds or milliseconds, within least..most.
func parseDuration(s string, unit, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && unit < time.Second:
		return 0, fmt.Errorf(`want a duration such as "100ms" or "1s", got %q`, s)
	case err != nil:
		return 0, fmt.Errorf(`want a duration such as "90s" or "2m", got %q`, s)
	case d%unit != 0 && unit < time.Second:
		return 0, fmt.Errorf("want whole milliseconds, got %q", s)
	case d%unit != 0:
		return 0, fmt.Errorf("want whole seconds, got %q", s)
	case d < least || d > most:
		return 0, fmt.Errorf(`want %s to %s, got %q`, seconds(least), seconds(most), s)
	}
	return d, nil
}

// seconds prints a duration the way people write it in the file: "90s", "30m", "300ms".
func seconds(d time.Duration) string {
	if d%time.Second != 0 {
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	if d != 0 && d%time.Minute == 0 && d >= 10*time.Minute {
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}

// checkIfname holds a name to what the kernel takes (dev_valid_name in
// net/core/dev.c, IFNAMSIZ in linux/if.h).
func checkIfname(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("want the name of an interface, got an empty string")
	case len(s) > 15:
		return fmt.Errorf("want at most 15 characters (a limit of the kernel), got %d in %q", len(s), s)
	case s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\v\f\r") || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf("want an interface name without '/', ':' and white space, got %q", s)
	}
	return nil
}

func checkAbsolute(s string) error {
	if !filepath.IsAbs(s) || strings.ContainsRune(s, 0) {
		return fmt.Errorf("want an absolute path, got %q", s)
	}
	return nil
}

// checkSocket also holds a path to sun_path of unix(7): 107 octets and a NUL.
func checkSocket(s string) error {
	if err := checkAbsolute(s); err != nil {
		return err
	}
	if len(s) > 107 {
		return fmt.Errorf("want a path of at most 107 characters (a limit of unix sockets), got %d", len(s))
	}
	return nil
}

// checkListen takes "", ADDRESS:PORT and :PORT.
func checkListen(s string) error {
	if s == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err == nil && host != "" && host != "localhost" {
		_, err = netip.ParseAddr(host)
	}
	if err != nil {
		return fmt.Errorf(`want ADDRESS:PORT such as "127.0.0.1:9474" or "[::1]:9474", or "" for off, got %q`, s)
	}
	return nil
}

func parseMAC(s string) (evpn.MAC, error) {
	m, err := evpn.ParseMAC(s)
	switch {
	case err != nil:
		return m, fmt.Errorf("want six hexadecimal octets such as 00:11:22:33:44:55, got %q", s)
	case m.IsGroup():
		return m, fmt.Errorf("want the MAC of a host, got the group address %s", m)
	case m.IsZero():
		return m, fmt.Errorf("want the MAC of a host, got all zeros")
	}
	return m, nil
}
