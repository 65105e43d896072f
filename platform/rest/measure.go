package rest

import (
	"net/http"
	"time"
)

// Measure has told called with each answer: its status, and how long it took to begin, which
// for all but event streams is about as long as it took.
func Measure(next http.Handler, told func(r *http.Request, status int, took time.Duration)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answer{ResponseWriter: w, began: time.Now()}
		unsaid := http.StatusInternalServerError // it panicked
		defer func() {
			a.begin(unsaid)
			told(r, a.status, a.took)
		}()
		next.ServeHTTP(a, r)
		unsaid = http.StatusOK // as net/http has it
	})
}

// answer notes how a response begins.
type answer struct {
	http.ResponseWriter
	began  time.Time
	status int
	took   time.Duration
}

func (a *answer) begin(status int) {
	if a.status == 0 && status >= http.StatusOK { // those below are not the answer yet
		a.status, a.took = status, time.Since(a.began)
	}
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	a.begin(status)
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.begin(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
