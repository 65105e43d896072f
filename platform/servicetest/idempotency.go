package servicetest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// Post sends a request to a route that wants an Idempotency-Key, at one replica. It may
// be called from any goroutine.
type Post func(body string, header ...string) Answer

// CheckIdempotency checks that a route does with keys what package idempotency says and
// docs/openapi.yaml promises. body and other are two requests of one caller that would
// both be taken; each replica has a Post.
func CheckIdempotency(t *testing.T, body, other string, replicas ...Post) {
	t.Helper()
	post := func(n int, body, key string) Answer { return replicas[n%len(replicas)](body, "Idempotency-Key", key) }
	for name, header := range map[string][]string{
		"missing": nil, "empty": {"Idempotency-Key", ""}, "with a space": {"Idempotency-Key", "a b"},
		"too long": {"Idempotency-Key", strings.Repeat("x", 256)},
	} {
		a := replicas[0](body, header...)
		if p := a.Problem(); a.Status != http.StatusBadRequest || p.Code != "required" || p.Field != "Idempotency-Key" {
			t.Errorf("key %s: %d %s", name, a.Status, a.Body)
		}
	}
	first := post(0, body, "k-1")
	checkRefused := func(a Answer) {
		t.Helper()
		if p := a.Problem(); a.Status != http.StatusUnprocessableEntity || p.Code != "idempotency_mismatch" || p.Field != "Idempotency-Key" {
			t.Errorf("another request under a key: %d %s", a.Status, a.Body)
		}
	}
	checkSame := func(a, want Answer) {
		t.Helper()
		if a.Status/100 != 2 || a.Status != want.Status || a.Body != want.Body || a.Header.Get("Location") != want.Header.Get("Location") {
			t.Errorf("answered %d %s, want the same as the first, %d %s", a.Status, a.Body, want.Status, want.Body)
		}
	}
	for n := range replicas {
		checkSame(post(n, body, "k-1"), first)
		checkRefused(post(n, other, "k-1"))
	}
	checkSame(post(0, body, "k-1"), first)
	atOnce := func(key string, bodies ...string) []Answer {
		answers := make([]Answer, len(bodies))
		var all sync.WaitGroup
		for n, b := range bodies {
			all.Go(func() { answers[n] = post(n, b, key) })
		}
		all.Wait()
		return answers
	}
	same := make([]string, 40)
	for n := range same {
		same[n] = body
	}
	answers := atOnce("k-2", same...)
	for _, a := range answers {
		checkSame(a, answers[0])
	}
	for round := range 10 {
		two := atOnce(fmt.Sprint("k-3-", round), body, other)
		if two[0].Status == http.StatusUnprocessableEntity {
			two[0], two[1] = two[1], two[0]
		}
		checkSame(two[0], two[0])
		checkRefused(two[1])
	}
}
