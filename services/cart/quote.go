package cart

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"quadrille.internal/events"
	"quadrille.internal/events/price"
	pricev1 "quadrille.internal/events/proto/price/v1"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/rest"
)

// quoteTimeout is how long somebody who looks at a cart waits for prices.
const quoteTimeout = time.Second

var regionForm = regexp.MustCompile(`^([A-Z]{2}(-[A-Z0-9]{1,3})?)?$`)

// quoteRequest says how a cart must be priced.
type quoteRequest struct {
	Currency string `json:"currency"`
	Region   string `json:"region"`
	Voucher  string `json:"voucher"`
}

func (q quoteRequest) check() error {
	switch {
	case !events.ValidCurrency(q.Currency):
		return fault.Field("currency", "malformed", "currency is an ISO 4217 code, such as GBP.")
	case !regionForm.MatchString(q.Region):
		return fault.Field("region", "malformed", "region is an ISO 3166 country or a part of one, such as GB or US-CA.")
	case q.Voucher == "":
		return nil
	default:
		return events.CheckName("voucher", q.Voucher)
	}
}

// Prices says what is known of what a cart costs.
type Prices string

// The states of prices.
const (
	Quoted  Prices = "quoted"
	Refused Prices = "refused"
	Unknown Prices = "unknown"
)

// quotedView is a cart with what it costs now, if that can be said.
type quotedView struct {
	Cart   view   `json:"cart"`
	Prices Prices `json:"prices"`
	// Quote is what Token says.
	Quote *price.Quote `json:"quote,omitempty"`
	Token string       `json:"token,omitempty"`
	// Refusal says why there is no quote.
	Refusal *refusal `json:"refusal,omitempty"`
}

type refusal struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	SKUs    []string `json:"skus,omitempty"`
}

// quote answers with the cart and a quote of what is not being ordered already. Nothing of
// it is kept: who asks again gets what it costs then. While price is away the cart is shown
// without prices.
func (s *server) quote(w http.ResponseWriter, r *http.Request) error {
	var wanted quoteRequest
	if _, err := rest.Decode(w, r, &wanted); err != nil {
		return err
	}
	if err := wanted.check(); err != nil {
		return err
	}
	st, err := s.cartOf(r)
	if err != nil {
		return err
	}
	free := Free(st.Lines, st.ordering())
	if len(free) == 0 {
		return fault.New(fault.Conflict, "nothing_to_order", "The cart is empty, or all that is in it is being ordered; its orders say how that goes on.")
	}
	v := quotedView{Cart: s.viewOf(st)}
	if gone := retiredIn(free, st.retired); len(gone) > 0 {
		v.Prices = Refused
		v.Refusal = &refusal{Code: "product_retired", Message: "Some of it is no longer sold; take it out of the cart.", SKUs: gone}
	} else {
		s.price(r.Context(), &v, free, wanted)
	}
	w.Header().Set("ETag", etagOf(st.Version))
	return rest.Write(w, http.StatusOK, v)
}

func retiredIn(lines []Line, retired map[string]bool) (skus []string) {
	for _, l := range lines {
		if retired[l.SKU] {
			skus = append(skus, l.SKU)
		}
	}
	return skus
}

// price fills in what lines cost.
func (s *server) price(ctx context.Context, v *quotedView, lines []Line, wanted quoteRequest) {
	ctx, cancel := context.WithTimeout(ctx, quoteTimeout)
	defer cancel()
	c, _ := caller.From(ctx)
	req := &pricev1.QuoteRequest{
		CustomerId: c.ID, CartId: v.Cart.ID.String(), Groups: c.Groups,
		Currency: wanted.Currency, Region: wanted.Region, Voucher: wanted.Voucher,
		Lines: make([]*pricev1.Line, len(lines)),
	}
	for i, l := range lines {
		req.Lines[i] = &pricev1.Line{Sku: l.SKU, Quantity: l.Quantity}
	}
	v.Prices = Unknown
	answer, err := s.prices.Quote(ctx, req)
	if err != nil {
		s.api.Log.WarnContext(ctx, "a cart is shown without prices", "cart_id", v.Cart.ID, "err", err)
		return
	}
	if no := answer.GetRefusal(); no != nil {
		v.Prices, v.Refusal = Refused, &refusal{Code: no.GetCode(), Message: no.GetMessage(), SKUs: no.GetSkus()}
		return
	}
	q, err := quote.Read(answer.GetToken())
	if err != nil {
		s.api.Log.ErrorContext(ctx, "price answered what is no quote", "cart_id", v.Cart.ID, "err", err)
		return
	}
	v.Prices, v.Quote, v.Token = Quoted, q, answer.GetToken()
}
