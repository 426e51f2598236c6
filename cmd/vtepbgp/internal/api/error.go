package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// ErrNotFound is wrapped by a [Backend] when what the request names does not exist.
var ErrNotFound = errors.New("not found")

// ErrNotReady is wrapped by a [Backend] that cannot answer yet or any more.
var ErrNotReady = errors.New("not ready")

// Error is a request that the daemon refused. Problems lists every finding when
// there is more than one, for example of a configuration that does not load.
type Error struct {
	StatusCode int      `json:"-"`
	Message    string   `json:"error"`
	Problems   []string `json:"problems,omitempty"`
}

func (e *Error) Error() string {
	if len(e.Problems) == 0 {
		return e.Message
	}
	return e.Message + "\n  " + strings.Join(e.Problems, "\n  ")
}

func writeError(w http.ResponseWriter, err error) {
	body := &Error{StatusCode: http.StatusInternalServerError, Message: err.Error()}
	var own *Error
	switch {
	case errors.As(err, &own):
		body = own
	case errors.Is(err, ErrNotFound):
		body.StatusCode = http.StatusNotFound
	case errors.Is(err, ErrNotReady):
		body.StatusCode = http.StatusServiceUnavailable
	}
	if body.StatusCode == 0 {
		body.StatusCode = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(body.StatusCode)
	_ = json.NewEncoder(w).Encode(body) // the client is gone: nobody to tell
}

func badRequest(err error) error {
	return &Error{StatusCode: http.StatusBadRequest, Message: err.Error()}
}
