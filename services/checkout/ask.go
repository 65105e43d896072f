package checkout

import (
	"context"
	"fmt"
	"sync"
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
	"quadrille.internal/platform/quote"
)

// How long price and customer have, which are asked at the same time.
const (
	commitTimeout  = 150 * time.Millisecond // of each of commitAttempts
	commitAttempts = 2
	addressTimeout = 100 * time.Millisecond
	askTimeout     = 400 * time.Millisecond // of all
)

// asker asks other services what must be known before an order is placed.
type asker struct {
	prices    pricev1.PricesClient
	customers customerv1.CustomersClient
	keys      *keyring
}

func newAsker(calls func(service string) grpc.ClientConnInterface, keys *keyring) *asker {
	return &asker{pricev1.NewPricesClient(calls("price")), customerv1.NewCustomersClient(calls("customer")), keys}
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
	if err := checkQuote(presented); err != nil {
		return nil, err
	}
	var committed *price.Quote
	var refused, astray error
	var both sync.WaitGroup
	both.Go(func() { committed, refused = a.commit(ctx, token, presented) })
	if address != nil {
		both.Go(func() { astray = a.checkAddress(ctx, presented.CustomerID, *address) })
	}
	both.Wait()
	// What price holds for an order that is not placed now is given up when price asks.
	if refused != nil {
		return nil, refused
	}
	return committed, astray
}

// commit has price commit to a quote. The order's id is the quote's, so that a repetition
// holds nothing more.
func (a *asker) commit(ctx context.Context, token string, presented *price.Quote) (*price.Quote, error) {
	req := &pricev1.CommitRequest{Token: token, OrderId: presented.ID.String(), CustomerId: presented.CustomerID}
	var answer *pricev1.CommitResponse
	var err error
	for range commitAttempts {
		attempt, cancel := context.WithTimeout(ctx, commitTimeout)
		answer, err = a.prices.Commit(attempt, req)
		cancel()
		if err == nil || status.Code(err) == codes.InvalidArgument {
			break
		}
	}
	switch {
	case err == nil:
		return committed(presented, answer)
	case status.Code(err) == codes.InvalidArgument:
		return nil, quoteInvalid(err)
	case !presented.Valid(time.Now()):
		return nil, &fault.Fault{Kind: fault.Conflict, Code: "quote_expired", Cause: err,
			Message: "The quote is not valid any more: have the cart quoted again."}
	case presented.Voucher != "":
		// Without price nobody knows whether the voucher is left, and without the voucher
		// the order would cost more than was said.
		return nil, &fault.Fault{Kind: fault.Unavailable, Code: "price_unavailable", Cause: err,
			Message: "The voucher cannot be redeemed now; send the request again shortly, with the same Idempotency-Key."}
	default:
		return presented, nil // price has signed that it costs this
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

func quoteUsed(order string) error {
	f := fault.New(fault.Conflict, "quote_used", "The quote was ordered before, in another way: see that order.")
	f.Members = map[string]any{"order_id": order}
	return f
}

func quoteGivenUp() error {
	return fault.New(fault.Conflict, "quote_given_up", "The order of this quote was given up: have the cart quoted again.")
}

// checkAddress checks that an order of the customer may go to an address.
func (a *asker) checkAddress(ctx context.Context, customer string, address uuid.UUID) error {
	ctx, cancel := context.WithTimeout(ctx, addressTimeout)
	defer cancel()
	answer, err := a.customers.Address(ctx, &customerv1.AddressRequest{CustomerId: customer, AddressId: address.String()})
	switch {
	case status.Code(err) == codes.NotFound || err == nil && answer.GetRemoved():
		f := fault.New(fault.Unprocessable, "address_not_found", "The customer has no such address.")
		f.Field = "address_id"
		return f
	case err != nil:
		return &fault.Fault{Kind: fault.Unavailable, Code: "address_unavailable", Cause: err,
			Message: "The address cannot be checked now; send the request again shortly, with the same Idempotency-Key."}
	default:
		return nil
	}
}
