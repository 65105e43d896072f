package standin

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Types of errors that every stand-in knows.
const (
	TypeAPI            = "api_error"
	TypeInvalidRequest = "invalid_request_error"
)

// Error is an answer other than success. Message is safe to show.
type Error struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Param   string `json:"param,omitempty"`

	Status     int           `json:"-"`
	RetryAfter time.Duration `json:"-"`
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

var (
	errUnauthorized = &Error{
		Status: http.StatusUnauthorized, Type: TypeInvalidRequest, Code: "api_key_invalid",
		Message: "No valid API key: send it as \"Authorization: Bearer KEY\".",
	}
	errTooLarge = &Error{
		Status: http.StatusRequestEntityTooLarge, Type: TypeInvalidRequest, Code: "body_too_large",
		Message: "The request body is larger than 64 KiB.",
	}
)

// BadRequest names the parameter at fault.
func BadRequest(code, param, message string) *Error {
	return &Error{Status: http.StatusBadRequest, Type: TypeInvalidRequest, Code: code, Param: param, Message: message}
}

// writeError answers with an Error as it is; anything else is ours, logged
// here and not shown.
func (s *Server) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var answer *Error
	if !errors.As(err, &answer) {
		s.Log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		answer = s.program.Internal
	}
	if answer.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(answer.RetryAfter.Seconds())))
	}
	if err := WriteJSON(w, answer.Status, map[string]*Error{"error": answer}); err != nil {
		s.Log.ErrorContext(r.Context(), "answer failed", "err", err)
	}
}
