package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Amounts of orders: a policy of newCompany wants a decision from 100.00 on.
const (
	smallPrice = 500
	largePrice = 20_000
)

// ponder is how long people take at most before they decide, so that parts are
// killed meanwhile.
const ponder = 3 * time.Second

// fate is what people do about an order, at random moments, and how it is then to
// end: what they were told is what counts.
type fate struct {
	name  string
	price int64
	hasty bool // of a company whose orders expire soon
	act   func(ctx context.Context, c *company, id uuid.UUID, rng *rand.Rand) (ends string, err error)
}

var fates = []fate{
	{"wants no approval", smallPrice, false, leaveAlone("completed")},
	{"is approved", largePrice, false, approve},
	{"is approved", largePrice, false, approve},
	{"is rejected", largePrice, false, reject},
	{"expires", largePrice, true, leaveAlone("rejected")},
	{"is approved about its expiry", largePrice, true, approveLate},
	{"is both approved and rejected", largePrice, false, rival},
	{"is cancelled under way", smallPrice, false, cancel("completed")},
	{"is cancelled while it waits", largePrice, false, cancel("")},
	{"is cancelled once approved", largePrice, false, regret},
}

func leaveAlone(ends string) func(context.Context, *company, uuid.UUID, *rand.Rand) (string, error) {
	return func(context.Context, *company, uuid.UUID, *rand.Rand) (string, error) { return ends, nil }
}

// within waits up to d.
func within(rng *rand.Rand, d time.Duration) { <-time.After(time.Duration(rng.Int64N(int64(d)))) }

func approve(ctx context.Context, c *company, id uuid.UUID, rng *rand.Rand) (string, error) {
	within(rng, ponder)
	return "completed", c.mustCount(ctx, id, "ann", "approve")
}

func reject(ctx context.Context, c *company, id uuid.UUID, rng *rand.Rand) (string, error) {
	within(rng, ponder)
	return "rejected", c.mustCount(ctx, id, "bob", "reject")
}

func approveLate(ctx context.Context, c *company, id uuid.UUID, rng *rand.Rand) (string, error) {
	within(rng, 2*hastyExpiry)
	if counts, err := c.decide(ctx, id, "ann", "approve"); counts || err != nil {
		return "completed", err
	}
	return "rejected", nil
}

// cancel has the customer cancel; otherwise is how an order ends that could no
// longer be cancelled, "" if it always can.
func cancel(otherwise string) func(context.Context, *company, uuid.UUID, *rand.Rand) (string, error) {
	return func(ctx context.Context, c *company, id uuid.UUID, rng *rand.Rand) (string, error) {
		within(rng, ponder/2)
		cancelled, err := c.cancel(ctx, id)
		switch {
		case err != nil || cancelled:
			return "cancelled", err
		case otherwise == "":
			return "", fmt.Errorf("cancellation of %s came too late", id)
		}
		return otherwise, nil
	}
}

// regret has the customer cancel at the moment the order goes on.
func regret(ctx context.Context, c *company, id uuid.UUID, rng *rand.Rand) (string, error) {
	if _, err := approve(ctx, c, id, rng); err != nil {
		return "", err
	}
	if cancelled, err := c.cancel(ctx, id); cancelled || err != nil {
		return "cancelled", err
	}
	return "completed", nil
}

func rival(ctx context.Context, c *company, id uuid.UUID, rng *rand.Rand) (string, error) {
	within(rng, ponder)
	var approved, rejected bool
	var approveErr, rejectErr error
	var both sync.WaitGroup
	both.Go(func() { approved, approveErr = c.decide(ctx, id, "ann", "approve") })
	both.Go(func() { rejected, rejectErr = c.decide(ctx, id, "bob", "reject") })
	both.Wait()
	switch {
	case approveErr != nil || rejectErr != nil:
		return "", fmt.Errorf("approve: %w, reject: %w", approveErr, rejectErr)
	case approved == rejected:
		return "", fmt.Errorf("rivals were told that they count: %v and %v", approved, rejected)
	case approved:
		return "completed", nil
	}
	return "rejected", nil
}
