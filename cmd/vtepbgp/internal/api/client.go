package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// DefaultSocket is where a daemon listens unless told otherwise.
const DefaultSocket = "/run/vtepbgp/vtepbgp.sock"

// What a [Client] method's error may wrap when the daemon could not be asked.
var (
	ErrNotRunning = errors.New("daemon not running")
	ErrPermission = errors.New("permission denied")
)

// Client asks a daemon over its unix socket.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient gives a client for the daemon at socket. It dials on first use.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for the daemon at a glance.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.get(ctx, "/v1/status", nil, &s)
	return s, err
}

// Neighbors lists the BGP neighbours in order of address.
func (c *Client) Neighbors(ctx context.Context) (l []Neighbor, err error) {
	err = c.get(ctx, "/v1/neighbors", nil, &l)
	return l, err
}

// VNIs lists VNIs in order.
func (c *Client) VNIs(ctx context.Context, f VNIFilter) (l []VNI, err error) {
	err = c.get(ctx, "/v1/vnis", f.query(), &l)
	return l, err
}

// VTEPs lists remote VTEPs in order of address.
func (c *Client) VTEPs(ctx context.Context, f VNIFilter) (l []VTEP, err error) {
	err = c.get(ctx, "/v1/vteps", f.query(), &l)
	return l, err
}

// Flood lists the flood lists in order of VNI.
func (c *Client) Flood(ctx context.Context, f VNIFilter) (l []Flood, err error) {
	l = []Flood{}
	err = each(ctx, c, http.MethodGet, "/v1/flood", f.query(), func(one Flood) error { l = append(l, one); return nil })
	return l, err
}

// MACs calls yield for each MAC in order of VNI and MAC as it arrives.
func (c *Client) MACs(ctx context.Context, f MACFilter, yield func(MAC) error) error {
	return each(ctx, c, http.MethodGet, "/v1/macs", f.query(), yield)
}

// Routes calls yield for each route in canonical order as it arrives.
func (c *Client) Routes(ctx context.Context, f RouteFilter, yield func(Route) error) error {
	return each(ctx, c, http.MethodGet, "/v1/routes", f.query(), yield)
}

// Explain asks why a MAC or IP address is where it is, in each VNI that knows it. It
// always gives at least one explanation.
func (c *Client) Explain(ctx context.Context, f ExplainFilter) (l []Explanation, err error) {
	err = c.get(ctx, "/v1/explain", f.query(), &l)
	return l, err
}

// Drift calls yield for each difference between kernel and intent, in order.
func (c *Client) Drift(ctx context.Context, f VNIFilter, yield func(Drift) error) error {
	return each(ctx, c, http.MethodGet, "/v1/drift", f.query(), yield)
}

// RepairDrift makes the daemon write what differs, and calls yield for each
// difference that there was.
func (c *Client) RepairDrift(ctx context.Context, f VNIFilter, yield func(Drift) error) error {
	return each(ctx, c, http.MethodPost, "/v1/drift/repair", f.query(), yield)
}

// Reload makes the daemon read its configuration again.
func (c *Client) Reload(ctx context.Context) (r ReloadResult, err error) {
	err = c.do(ctx, http.MethodPost, "/v1/reload", nil, decodeInto(&r))
	return r, err
}

// ResetNeighbor resets a session: soft asks for and sends all routes again, hard
// closes it.
func (c *Client) ResetNeighbor(ctx context.Context, address netip.Addr, soft bool) error {
	q := url.Values{}
	setBool(q, "soft", soft)
	return c.do(ctx, http.MethodPost, "/v1/neighbors/"+address.String()+"/reset", q, nil)
}

// ClearDuplicate thaws a MAC frozen as duplicate; a zero MAC thaws all of the VNI.
func (c *Client) ClearDuplicate(ctx context.Context, vni evpn.VNI, mac evpn.MAC) error {
	q := url.Values{}
	setVNI(q, vni)
	setMAC(q, mac)
	return c.do(ctx, http.MethodPost, "/v1/macs/clear-duplicate", q, nil)
}

// AddVTEP puts a VTEP that speaks no BGP on the flood list of a VNI.
func (c *Client) AddVTEP(ctx context.Context, vni evpn.VNI, address netip.Addr) error {
	return c.do(ctx, http.MethodPut, vtepPath(vni, address), nil, nil)
}

// DeleteVTEP takes one off that [Client.AddVTEP] put there.
func (c *Client) DeleteVTEP(ctx context.Context, vni evpn.VNI, address netip.Addr) error {
	return c.do(ctx, http.MethodDelete, vtepPath(vni, address), nil, nil)
}

func vtepPath(vni evpn.VNI, address netip.Addr) string {
	return "/v1/vnis/" + vni.String() + "/vteps/" + address.String()
}

func (c *Client) get(ctx context.Context, path string, q url.Values, into any) error {
	return c.do(ctx, http.MethodGet, path, q, decodeInto(into))
}

func decodeInto(v any) func(*json.Decoder) error {
	return func(d *json.Decoder) error { return d.Decode(v) }
}

func each[T any](ctx context.Context, c *Client, method, path string, q url.Values, yield func(T) error) error {
	var stop error // of yield: goes to the caller as it is
	err := c.do(ctx, method, path, q, func(d *json.Decoder) error {
		if _, err := d.Token(); err != nil { // the opening bracket
			return err
		}
		for d.More() {
			var v T
			if err := d.Decode(&v); err != nil {
				return err
			}
			if stop = yield(v); stop != nil {
				return stop
			}
		}
		_, err := d.Token() // the closing bracket: without it the list was cut
		return err
	})
	if stop != nil {
		return stop
	}
	return err
}

func (c *Client) do(ctx context.Context, method, path string, q url.Values, read func(*json.Decoder) error) error {
	u := url.URL{Scheme: "http", Host: "vtepbgp", Path: path, RawQuery: q.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fmt.Errorf("ask daemon at %s: %w", c.socket, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer func() { _ = resp.Body.Close() }() // read side: nothing to lose
	if resp.StatusCode != http.StatusOK {
		return c.refusal(resp)
	}
	if read == nil {
		return nil
	}
	if err := read(json.NewDecoder(resp.Body)); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return fmt.Errorf("read answer of daemon at %s: the answer was cut short", c.socket)
		}
		return fmt.Errorf("read answer of daemon at %s: %w", c.socket, err)
	}
	return nil
}

func (c *Client) refusal(resp *http.Response) error {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what arrived is what we show
	e := &Error{StatusCode: resp.StatusCode}
	if err := json.Unmarshal(body, e); err != nil || e.Message == "" {
		e.Message = fmt.Sprintf("daemon at %s answered %s", c.socket, resp.Status)
	}
	return e
}

// explain turns a dial error into what the operator should do.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w at %s: start it with `vtepbgp run` or `systemctl start vtepbgp`, or name its socket with --socket", ErrNotRunning, c.socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w on %s: run this as root or as a member of the socket's group", ErrPermission, c.socket)
	default:
		return fmt.Errorf("ask daemon at %s: %w", c.socket, err)
	}
}
