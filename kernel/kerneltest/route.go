package kerneltest

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/vtepbgp/vtepbgp/kernel"
)

// Route is a row of the main routing table.
type Route struct {
	To      netip.Prefix
	Kind    string // "" = unicast; "unreachable", "blackhole", "prohibit"
	Device  string // of a unicast route
	Gateway netip.Addr
	MTU     int // 0 = none of its own
}

// args are the words of ip-route(8).
func (r Route) args() []string {
	out := []string{r.To.String()}
	if r.Kind != "" {
		out = []string{r.Kind, r.To.String()}
	}
	if r.Gateway.IsValid() {
		out = append(out, "via", r.Gateway.String())
	}
	if r.Device != "" {
		out = append(out, "dev", r.Device)
	}
	if r.MTU != 0 {
		out = append(out, "mtu", strconv.Itoa(r.MTU))
	}
	return out
}

// SetRoute adds the route, or replaces the one of the same prefix.
func (f *Fake) SetRoute(r Route) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes = append(slices.DeleteFunc(f.routes, func(o Route) bool { return o.To == r.To }), r)
	f.publishRoute(kernel.RouteChange{Prefix: r.To})
}

// RemoveRoute removes the route of a prefix.
func (f *Fake) RemoveRoute(to netip.Prefix) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routes = slices.DeleteFunc(f.routes, func(o Route) bool { return o.To == to })
	f.publishRoute(kernel.RouteChange{Prefix: to})
}

// dropRoutes removes the routes of a link that went down: of IPv4 ones without a word
// (fib_sync_down_dev).
func (f *Fake) dropRoutes(l *kernel.Link) {
	f.routes = slices.DeleteFunc(f.routes, func(r Route) bool {
		if r.Device != l.Name {
			return false
		}
		if r.To.Addr().Is6() {
			f.publishRoute(kernel.RouteChange{Prefix: r.To})
		}
		return true
	})
}

// SetCarrier lets the far end of a link come or go.
func (f *Fake) SetCarrier(device string, on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.byName(device)
	f.noCarrier[l.Index] = !on
	f.changed()
}

// Routes looks routes up by longest prefix; addresses of links come first.
func (f *Fake) Routes(q kernel.RouteQuery) ([]kernel.Route, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.routesFail != nil {
		return nil, f.routesFail
	}
	f.lookups += len(q.To)
	out := make([]kernel.Route, 0, len(q.To))
	for _, to := range q.To {
		if to.IsMulticast() && q.Device != 0 {
			out = append(out, f.groupRoute(destination{to, q.Device}))
			continue
		}
		out = append(out, f.route(to))
	}
	return out, nil
}

func (f *Fake) route(to netip.Addr) kernel.Route {
	for _, a := range f.addrs {
		if a.IP == to {
			return kernel.Route{Type: unix.RTN_LOCAL, Device: 1}
		}
	}
	best := Route{}
	for _, r := range f.routes {
		if r.To.Contains(to) && (!best.To.IsValid() || r.To.Bits() > best.To.Bits()) {
			best = r
		}
	}
	switch {
	case !best.To.IsValid():
		return kernel.Route{Err: unix.ENETUNREACH}
	case best.Kind == "unreachable":
		return kernel.Route{Err: unix.EHOSTUNREACH}
	case best.Kind == "blackhole":
		return kernel.Route{Err: unix.EINVAL}
	case best.Kind == "prohibit":
		return kernel.Route{Err: unix.EACCES}
	}
	return kernel.Route{Type: unix.RTN_UNICAST, Device: f.byName(best.Device).Index, Gateway: best.Gateway, MTU: best.MTU}
}

// Lookups counts the addresses whose route was asked for.
func (f *Fake) Lookups() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lookups
}

// FailRoutes lets lookups of routes fail altogether until it is called with nil.
func (f *Fake) FailRoutes(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.routesFail = err
}

// SetRoute adds or replaces a route.
func (w FakeWorld) SetRoute(_ testing.TB, r Route) { w.Fake.SetRoute(r) }

// SetRoutes adds or replaces routes.
func (w FakeWorld) SetRoutes(_ testing.TB, routes []Route) {
	for _, r := range routes {
		w.Fake.SetRoute(r)
	}
}

// SetRoutes adds or replaces routes with one call of ip(8).
func (w RealWorld) SetRoutes(t testing.TB, routes []Route) {
	var lines strings.Builder
	for _, r := range routes {
		lines.WriteString("route replace " + strings.Join(r.args(), " ") + "\n")
	}
	file := filepath.Join(t.TempDir(), "routes")
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	w.IP(t, "-batch", file)
}

// RemoveBlackholes removes the IPv4 routes of this type.
func (w FakeWorld) RemoveBlackholes(testing.TB) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.routes = slices.DeleteFunc(w.routes, func(r Route) bool {
		gone := r.Kind == "blackhole" && r.To.Addr().Is4()
		if gone {
			w.publishRoute(kernel.RouteChange{Prefix: r.To})
		}
		return gone
	})
}

// RemoveBlackholes lets ip(8) do so, which puts some hundred into one send.
func (w RealWorld) RemoveBlackholes(t testing.TB) {
	w.IP(t, "-4", "route", "flush", "type", "blackhole")
}

// RemoveRoute removes a route.
func (w FakeWorld) RemoveRoute(_ testing.TB, to netip.Prefix) { w.Fake.RemoveRoute(to) }

// SetCarrier lets the far end of a port come or go.
func (w FakeWorld) SetCarrier(_ testing.TB, port string, on bool) { w.Fake.SetCarrier(port, on) }

// SetRoute adds or replaces a route.
func (w RealWorld) SetRoute(t testing.TB, r Route) {
	w.IP(t, append([]string{family(r.To), "route", "replace"}, r.args()...)...)
}

// RemoveRoute removes a route.
func (w RealWorld) RemoveRoute(t testing.TB, to netip.Prefix) {
	w.IP(t, family(to), "route", "del", to.String())
}

func family(p netip.Prefix) string {
	if p.Addr().Is6() {
		return "-6"
	}
	return "-4"
}

// SetCarrier sets the far end of a port up or down.
func (w RealWorld) SetCarrier(t testing.TB, port string, on bool) {
	state := "up"
	if !on {
		state = "down"
	}
	w.IP(t, "link", "set", port+"-host", state)
}
