package decisionlog

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
)

func sample() []Decision {
	var list []Decision
	order := uuid.MustParse("01977420-0000-7000-8000-00000000f00d")
	at := time.Date(2026, 6, 15, 9, 30, 0, 123456000, time.UTC)
	for _, approver := range []string{"alice", "bob", "dora"} {
		list = append(list, Append(list, Decision{
			OrderID: order, Approver: approver, OnBehalfOf: approver, Verdict: "approve", Reason: `a "b", c`,
			OrderHash: "f00d", Source: "api", DecidedAt: at,
		}))
	}
	return list
}

func TestCheckFindsEveryChange(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func([]Decision) []Decision
		broken bool
	}{
		{"nothing", func(l []Decision) []Decision { return l }, false},
		{"no decisions", func([]Decision) []Decision { return nil }, false},
		{"the time in another zone", func(l []Decision) []Decision {
			l[0].DecidedAt = l[0].DecidedAt.In(time.FixedZone("", 3600))
			return l
		}, false},
		{"another order", func(l []Decision) []Decision { l[0].OrderID = uuid.New(); return l }, true},
		{"another approver", func(l []Decision) []Decision { l[1].Approver = "mallory"; return l }, true},
		{"in another's name", func(l []Decision) []Decision { l[1].OnBehalfOf = "mallory"; return l }, true},
		{"another verdict", func(l []Decision) []Decision { l[2].Verdict = "reject"; return l }, true},
		{"another reason", func(l []Decision) []Decision { l[0].Reason = ""; return l }, true},
		{"another version of the order", func(l []Decision) []Decision { l[0].OrderHash = "beef"; return l }, true},
		{"another source", func(l []Decision) []Decision { l[0].Source = "dapr"; return l }, true},
		{"another time", func(l []Decision) []Decision { l[0].DecidedAt = l[0].DecidedAt.Add(time.Microsecond); return l }, true},
		{"text moved between fields", func(l []Decision) []Decision {
			l[0].Verdict, l[0].Reason = `approve","a `, `b", c`
			return l
		}, true},
		{"the first is gone", func(l []Decision) []Decision { return l[1:] }, true},
		{"one is gone", func(l []Decision) []Decision { return slices.Delete(l, 1, 2) }, true},
		{"one resealed", func(l []Decision) []Decision {
			l[1].Reason = "changed"
			l[1].Hash = l[1].seal()
			return l
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := Check(c.change(sample())); errors.Is(err, ErrBroken) != c.broken {
				t.Errorf("Check says %v, want broken = %v", err, c.broken)
			}
		})
	}
}

// The hash of a decision that was recorded never changes.
func TestSealStays(t *testing.T) {
	const want = "8eaa72955e1f968ceca14702b545f9354626b4970a57ae5b7850754bbf102313"
	if got := sample()[2].Hash; got != want {
		t.Errorf("hash is %s, want %s", got, want)
	}
}
