package rest

import (
	"math/rand/v2"
	"net/http"
	"strconv"

	"quadrille.internal/platform/fault"
)

// Clients that are told to come back at the same moment are spread over so many
// seconds.
const retryWithin = 8

func overloaded() *fault.Fault {
	return fault.New(fault.Unavailable, "overloaded", "Too many requests are under way; try again shortly.")
}

// retryAfter is a Retry-After for one of many.
func retryAfter() string {
	return strconv.Itoa(1 + rand.IntN(retryWithin)) //nolint:gosec // spreading needs no secrecy
}

// Limit answers 503 with Retry-After once more than n requests are under way,
// so that an edge under a burst sheds load instead of falling over.
func Limit(n int) func(http.Handler) http.Handler {
	slots := make(chan struct{}, n)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
				next.ServeHTTP(w, r)
			default:
				w.Header().Set("Retry-After", retryAfter())
				WriteProblem(w, r, overloaded())
			}
		})
	}
}
