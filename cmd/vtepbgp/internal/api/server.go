package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"

	"github.com/vtepbgp/vtepbgp/evpn"
)

// Backend answers the requests. The daemon is one. Listing methods call yield for
// each element in order and stop at its first error.
type Backend interface {
	Status(ctx context.Context) (Status, error)
	Neighbors(ctx context.Context) ([]Neighbor, error)
	VNIs(ctx context.Context, f VNIFilter) ([]VNI, error)
	VTEPs(ctx context.Context, f VNIFilter) ([]VTEP, error)
	Flood(ctx context.Context, f VNIFilter, yield func(Flood) error) error
	MACs(ctx context.Context, f MACFilter, yield func(MAC) error) error
	Routes(ctx context.Context, f RouteFilter, yield func(Route) error) error
	Explain(ctx context.Context, f ExplainFilter) ([]Explanation, error)
	Drift(ctx context.Context, f VNIFilter, yield func(Drift) error) error
	// RepairDrift writes what differs and lists what differed.
	RepairDrift(ctx context.Context, f VNIFilter, yield func(Drift) error) error
	// Monitor calls yield with what happened, some events at a time, until ctx or the
	// daemon ends.
	Monitor(ctx context.Context, f EventFilter, yield func([]Event) error) error
	// Record writes what the core is told, until ctx or the daemon ends.
	Record(ctx context.Context, to Recording) error
	Reload(ctx context.Context) (ReloadResult, error)
	ResetNeighbor(ctx context.Context, address netip.Addr, soft bool) error
	ClearDuplicate(ctx context.Context, vni evpn.VNI, mac evpn.MAC) error
	// AddVTEP puts a VTEP that speaks no BGP on a flood list until DeleteVTEP.
	AddVTEP(ctx context.Context, vni evpn.VNI, address netip.Addr) error
	DeleteVTEP(ctx context.Context, vni evpn.VNI, address netip.Addr) error
}

// Server makes HTTP handlers of a [Backend].
type Server struct{ backend Backend }

// NewServer gives a server that asks b.
func NewServer(b Backend) *Server { return &Server{backend: b} }

// Handler serves everything, for the unix socket.
func (s *Server) Handler() http.Handler {
	mux := s.readOnly()
	mux.HandleFunc("GET /v1/monitor", s.monitor)
	mux.HandleFunc("GET /v1/record", s.record)
	mux.HandleFunc("POST /v1/reload", s.reload)
	mux.HandleFunc("POST /v1/drift/repair", streamByVNI(s.backend.RepairDrift))
	mux.HandleFunc("POST /v1/neighbors/{address}/reset", s.resetNeighbor)
	mux.HandleFunc("POST /v1/macs/clear-duplicate", s.clearDuplicate)
	mux.HandleFunc("PUT /v1/vnis/{vni}/vteps/{address}", changeVTEP(s.backend.AddVTEP))
	mux.HandleFunc("DELETE /v1/vnis/{vni}/vteps/{address}", changeVTEP(s.backend.DeleteVTEP))
	return mux
}

// ReadOnly serves what changes nothing and ends by itself, for a TCP port.
func (s *Server) ReadOnly() http.Handler { return s.readOnly() }

func (s *Server) readOnly() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, func() (Status, error) { return s.backend.Status(r.Context()) })
	})
	mux.HandleFunc("GET /v1/neighbors", func(w http.ResponseWriter, r *http.Request) {
		answer(w, func() ([]Neighbor, error) { return s.backend.Neighbors(r.Context()) })
	})
	mux.HandleFunc("GET /v1/vnis", byVNI(s.backend.VNIs))
	mux.HandleFunc("GET /v1/vteps", byVNI(s.backend.VTEPs))
	mux.HandleFunc("GET /v1/flood", streamByVNI(s.backend.Flood))
	mux.HandleFunc("GET /v1/explain", func(w http.ResponseWriter, r *http.Request) {
		f, err := parseExplainFilter(r.URL.Query())
		if err != nil {
			writeError(w, badRequest(err))
			return
		}
		answer(w, func() ([]Explanation, error) { return s.backend.Explain(r.Context(), f) })
	})
	mux.HandleFunc("GET /v1/drift", streamByVNI(s.backend.Drift))
	mux.HandleFunc("GET /v1/macs", func(w http.ResponseWriter, r *http.Request) {
		f, err := parseMACFilter(r.URL.Query())
		if err != nil {
			writeError(w, badRequest(err))
			return
		}
		stream(w, func(yield func(MAC) error) error { return s.backend.MACs(r.Context(), f, yield) })
	})
	mux.HandleFunc("GET /v1/routes", func(w http.ResponseWriter, r *http.Request) {
		f, err := parseRouteFilter(r.URL.Query())
		if err != nil {
			writeError(w, badRequest(err))
			return
		}
		stream(w, func(yield func(Route) error) error { return s.backend.Routes(r.Context(), f, yield) })
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, &Error{StatusCode: http.StatusNotFound, Message: "no such path: " + r.Method + " " + r.URL.Path})
	})
	return mux
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	answer(w, func() (ReloadResult, error) { return s.backend.Reload(r.Context()) })
}

func (s *Server) resetNeighbor(w http.ResponseWriter, r *http.Request) {
	answer(w, func() (struct{}, error) {
		address, err := netip.ParseAddr(r.PathValue("address"))
		if err != nil {
			return struct{}{}, badRequest(err)
		}
		p := queryParser{q: r.URL.Query()}
		soft := p.bool("soft")
		if err := p.finish(); err != nil {
			return struct{}{}, badRequest(err)
		}
		return struct{}{}, s.backend.ResetNeighbor(r.Context(), address, soft)
	})
}

func (s *Server) clearDuplicate(w http.ResponseWriter, r *http.Request) {
	answer(w, func() (struct{}, error) {
		p := queryParser{q: r.URL.Query()}
		vni, mac := p.vni(), p.mac()
		if err := p.finish(); err != nil {
			return struct{}{}, badRequest(err)
		}
		if vni == 0 {
			return struct{}{}, &Error{StatusCode: http.StatusBadRequest, Message: "vni is missing"}
		}
		return struct{}{}, s.backend.ClearDuplicate(r.Context(), vni, mac)
	})
}

func changeVTEP(change func(context.Context, evpn.VNI, netip.Addr) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer(w, func() (struct{}, error) {
			vni, err := evpn.ParseVNI(r.PathValue("vni"))
			if err != nil {
				return struct{}{}, badRequest(err)
			}
			address, err := netip.ParseAddr(r.PathValue("address"))
			if err != nil {
				return struct{}{}, badRequest(err)
			}
			return struct{}{}, change(r.Context(), vni, address)
		})
	}
}

func byVNI[T any](list func(context.Context, VNIFilter) ([]T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f, err := parseVNIFilter(r.URL.Query())
		if err != nil {
			writeError(w, badRequest(err))
			return
		}
		answer(w, func() ([]T, error) {
			l, err := list(r.Context(), f)
			if l == nil {
				l = []T{}
			}
			return l, err
		})
	}
}

func streamByVNI[T any](list func(context.Context, VNIFilter, func(T) error) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		f, err := parseVNIFilter(r.URL.Query())
		if err != nil {
			writeError(w, badRequest(err))
			return
		}
		stream(w, func(yield func(T) error) error { return list(r.Context(), f, yield) })
	}
}

func answer[T any](w http.ResponseWriter, get func() (T, error)) {
	v, err := get()
	if err != nil {
		writeError(w, err)
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)+1))
	_, _ = w.Write(append(b, '\n')) // the client is gone: nobody to tell
}

// stream writes a JSON array one element at a time. An error before the first
// element is an ordinary error answer; one after it aborts the connection, so that
// a client never takes a cut list for a whole one.
func stream[T any](w http.ResponseWriter, list func(yield func(T) error) error) {
	out := bufio.NewWriterSize(w, 32<<10)
	started := false
	start := func() {
		if !started {
			started = true
			w.Header().Set("Content-Type", "application/json")
			_ = out.WriteByte('[') // bufio keeps the error for Flush
		}
	}
	enc := json.NewEncoder(out)
	err := list(func(v T) error {
		if started {
			if err := out.WriteByte(','); err != nil {
				return err
			}
		}
		start()
		return enc.Encode(v) // ends the line: one element a line
	})
	if err != nil && !started {
		writeError(w, err)
		return
	}
	start()
	_, _ = out.WriteString("]\n")
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		panic(http.ErrAbortHandler) // net/http's way to cut the connection silently
	}
}
