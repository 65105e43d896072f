package price

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"

	checkoutv1 "quadrille.internal/events/proto/checkout/v1"
	"quadrille.internal/platform/servicetest"
)

// checkout knows some orders, or does not answer.
type checkout struct {
	known map[string]bool
	away  bool
	asked []string
}

func (c *checkout) Known(_ context.Context, req *checkoutv1.KnownRequest, _ ...grpc.CallOption) (*checkoutv1.KnownResponse, error) {
	if c.away {
		return nil, errors.New("checkout is away")
	}
	answer := &checkoutv1.KnownResponse{}
	for _, id := range req.GetOrderIds() {
		c.asked = append(c.asked, id)
		if c.known[id] {
			answer.OrderIds = append(answer.OrderIds, id)
		}
	}
	return answer, nil
}

// A hold ends when checkout says that there is no such order, and by nothing else: neither
// time nor an outage of checkout ends it.
func TestAHoldEndsOnlyByCheckoutsWord(t *testing.T) {
	f := newFixture(t)
	f.list("base", 500, longAgo)
	f.put("/v1/vouchers/TEN", tenOff, 2)
	_, first := f.quote(1, "TEN")
	_, second := f.quote(1, "TEN")
	placed, lost := uuid.New(), uuid.New()
	f.wantOutcome(f.commit(first, placed), committedOutcome)
	f.wantOutcome(f.commit(second, lost), committedOutcome)
	c := &checkout{known: map[string]bool{placed.String(): true}}
	h := &holds{f.kit.Outbox, c}
	sweep := func() error { _, err := h.sweep(t.Context()); return err }
	if err := sweep(); err != nil || len(c.asked) > 0 {
		t.Errorf("asked about %v at once, %v", c.asked, err)
	}
	due := func() {
		servicetest.Exec(t, f.kit.Pool, `update voucher_uses set ask_at = now() - $1::interval`, time.Hour)
	}
	due()
	c.away = true
	if err := sweep(); err == nil {
		t.Error("an outage of checkout is no error")
	}
	f.wantUses("TEN", 2, 0)
	c.away = false
	if err := sweep(); err != nil || len(c.asked) > 0 {
		t.Errorf("asked about %v again at once, %v", c.asked, err)
	}
	due()
	if err := sweep(); err != nil {
		t.Error(err)
	}
	f.wantUses("TEN", 1, 0)
	due()
	c.asked = nil
	if err := sweep(); err != nil || len(c.asked) != 1 || c.asked[0] != placed.String() {
		t.Errorf("asked about %v, %v, want the order that is there", c.asked, err)
	}
	servicetest.RunInbox(t, f.kit, handle).Deliver(servicetest.Message(t, confirmed(placed), time.Now()))
	f.wantUses("TEN", 0, 1)
	f.checkBooks()
}
