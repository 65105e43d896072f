package checkout

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
	customerv1 "quadrille.internal/events/proto/customer/v1"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/quote"
)

// How long price and customer have, which are asked at the same time, and again where it
// fails: see persist.
const (
	commitTimeout  = 150 * time.Millisecond // of an attempt
	commitInAll    = 2 * commitTimeout
	addressTimeout = 200 * time.Millisecond // of an attempt
	askTimeout     = 400 * time.Millisecond // of all
	firstPause     = 10 * time.Millisecond  // after an attempt that failed; the next is twice as long
)

// asker asks other services what must be known before an order is placed.
type asker struct {
	prices    pricev1.PricesClient
	customers customerv1.CustomersClient
	keys      *keyring
	// unasked counts quotes that were taken though price did not answer.
	unasked atomic.Int64
}

func newAsker(calls func(service string) grpc.ClientConnInterface, keys *keyring) *asker {
	return &asker{prices: pricev1.NewPricesClient(calls("price")), customers: customerv1.NewCustomersClient(calls("customer")), keys: keys}
}

// ask returns the quote that price commits to for a quote that a caller presents. It
// checks at the same time that the customer has the address, unless that is nil.
func (a *asker) ask(ctx context.Context, token string, address *uuid.UUID) (*price.Quote, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	presented, err := a.keys.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	if err := checkQuote(ctx, presented, time.Now()); err != nil {
		return nil, err
	}
	var committed *price.Quote
	var refused, astray error
	var both sync.WaitGroup
	both.Go(func() { committed, refused = a.commit(ctx, token, presented) })
	if address != nil {
		both.Go(func() { astray = a.checkAddress(ctx, presented, *address) })
	}
	both.Wait()
	// What price holds for an order that is not placed now is given up when price asks.
	if refused != nil {
		return nil, refused
	}
	if astray == nil && committed == presented {
		a.unasked.Add(1)
	}
	return committed, astray
}

// commit has price commit to a quote. The order's id is the quote's, so that a repetition
// holds nothing more.
func (a *asker) commit(ctx context.Context, token string, presented *price.Quote) (*price.Quote, error) {
	req := &pricev1.CommitRequest{Token: token, OrderId: presented.ID.String(), CustomerId: presented.CustomerID}
	ctx, cancel := context.WithTimeout(ctx, commitInAll)
	defer cancel()
	var answer *pricev1.CommitResponse
	err := persist(ctx, commitTimeout, func(ctx context.Context) (err error) {
		answer, err = a.prices.Commit(ctx, req)
		return err
	})
	switch {
	case err == nil:
		return committed(presented, answer)
	case status.Code(err) == codes.InvalidArgument:
		return nil, quoteInvalid(err)
	case !presented.Valid(time.Now()):
		return nil, quoteExpired(err)
	case presented.Voucher != "":
		// Without price nobody knows whether the voucher is left, and without the voucher
		// the order would cost more than was said.
		return nil, &fault.Fault{Kind: fault.Unavailable, Code: "price_unavailable", Cause: err,
			Message: "The voucher cannot be redeemed now; send the request again shortly, with the same Idempotency-Key."}
	default:
		return presented, nil // price has signed that it costs this
	}
}

// persist makes a call, and again while it fails in passing and ctx lasts: of the replicas of a
// service one may just be stopping, which refuses at once, and the next attempt may meet another.
func persist(ctx context.Context, timeout time.Duration, call func(context.Context) error) error {
	for pause := firstPause; ; pause *= 2 {
		attempt, cancel := context.WithTimeout(ctx, timeout)
		err := call(attempt)
		cancel()
		switch status.Code(err) {
		case codes.OK, codes.InvalidArgument, codes.NotFound:
			return err
		default:
			if pgtx.Sleep(ctx, pause) != nil {
				return err
			}
		}
	}
}

// committed reads what price answered.
func committed(presented *price.Quote, answer *pricev1.CommitResponse) (*price.Quote, error) {
	switch answer.GetOutcome() {
	case pricev1.CommitResponse_OUTCOME_COMMITTED:
		q, err := quote.Read(answer.GetToken())
		if err != nil {
			return nil, fmt.Errorf("read what price committed to for %s: %w", presented.ID, err)
		}
		if !checkCommitted(presented, q) {
			return nil, fmt.Errorf("price committed to quote %s over %d %s for one over %d %s", q.ID, q.Total, q.Currency, presented.Total, presented.Currency)
		}
		return q, nil
	case pricev1.CommitResponse_OUTCOME_PRICE_CHANGED:
		f := fault.New(fault.Conflict, "price_changed", "The order costs more now than the quote says, which is not valid any more: have the cart quoted again.")
		f.Members = map[string]any{
			"quoted_total":  events.Money{Amount: answer.GetQuotedTotal(), Currency: answer.GetCurrency()},
			"current_total": events.Money{Amount: answer.GetCurrentTotal(), Currency: answer.GetCurrency()},
		}
		return nil, f
	case pricev1.CommitResponse_OUTCOME_QUOTE_INVALID:
		return nil, quoteInvalid(nil)
	case pricev1.CommitResponse_OUTCOME_QUOTE_USED:
		return nil, quoteUsed(answer.GetOrderId())
	case pricev1.CommitResponse_OUTCOME_ORDER_CANCELLED:
		return nil, quoteGivenUp()
	case pricev1.CommitResponse_OUTCOME_REFUSED:
		return nil, refusalOf(answer.GetRefusal())
	default:
		return nil, fmt.Errorf("price answers the commitment to quote %s with %s", presented.ID, answer.GetOutcome())
	}
}

// refusalOf hands on why price makes no order of a quote.
func refusalOf(r *pricev1.Refusal) error {
	message := r.GetMessage()
	for _, f := range []*fault.Fault{
		fault.New(fault.Conflict, "price_not_found", "%s", message),
		fault.New(fault.Conflict, "total_too_large", "%s", message),
		fault.New(fault.Conflict, "nothing_to_pay", "%s", message),
		fault.New(fault.Conflict, "voucher_not_found", "%s", message),
		fault.New(fault.Conflict, "voucher_not_valid_now", "%s", message),
		fault.New(fault.Conflict, "voucher_used_up", "%s", message),
		fault.New(fault.Conflict, "voucher_not_applicable", "%s", message),
	} {
		if f.Code == r.GetCode() {
			return f
		}
	}
	return fmt.Errorf("price refuses a quote with a code that is not known: %s", r.GetCode())
}

func quoteInvalid(cause error) error {
	return &fault.Fault{Kind: fault.Invalid, Code: "quote_invalid", Field: "quote", Cause: cause,
		Message: "The quote is not as price signed it: send it unchanged, or have the cart quoted again."}
}

func quoteExpired(cause error) error {
	return &fault.Fault{Kind: fault.Conflict, Code: "quote_expired", Cause: cause,
		Message: "The quote is not valid any more: have the cart quoted again."}
}

func quoteUsed(order string) error {
	f := fault.New(fault.Conflict, "quote_used", "The quote was ordered before, in another way: see that order.")
	f.Members = map[string]any{"order_id": order}
	return f
}

func quoteGivenUp() error {
	return fault.New(fault.Conflict, "quote_given_up", "The order of this quote was given up: have the cart quoted again.")
}

// checkAddress checks that an order of a quote may go to an address: it is the customer's, and
// in the country whose taxes and shipping the quote has. Which part of a country it is in, the
// customer's own words say, which are not compared.
func (a *asker) checkAddress(ctx context.Context, q *price.Quote, address uuid.UUID) error {
	var answer *customerv1.AddressResponse
	err := persist(ctx, addressTimeout, func(ctx context.Context) (err error) {
		answer, err = a.customers.Address(ctx, &customerv1.AddressRequest{CustomerId: q.CustomerID, AddressId: address.String()})
		return err
	})
	country, _, _ := strings.Cut(q.Region, "-")
	switch {
	case status.Code(err) == codes.NotFound || err == nil && answer.GetRemoved():
		f := fault.New(fault.Unprocessable, "address_not_found", "The customer has no such address.")
		f.Field = "address_id"
		return f
	case err != nil:
		return &fault.Fault{Kind: fault.Unavailable, Code: "address_unavailable", Cause: err,
			Message: "The address cannot be checked now; send the request again shortly, with the same Idempotency-Key."}
	case answer.GetAddress().GetCountry() != country:
		return fault.New(fault.Conflict, "quote_of_another_country", "The address is not in the quote's region: have the cart quoted with the country of the address as region.")
	default:
		return nil
	}
}
