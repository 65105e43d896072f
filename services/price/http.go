package price

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/quote"
	"quadrille.internal/platform/rest"
	"quadrille.internal/services/price/pricing"
)

const maxSKUs = 100 // of a request for prices

var pages = rest.Pages{Default: 50, Most: 200}

type server struct {
	pool   *pgxpool.Pool
	outbox *outbox.Outbox
	api    rest.API
	quoter *quoter
	prices *prices
	// zone is the shop's time zone, in which its days begin.
	zone *time.Location
	// switched has the sweep look for what became valid.
	switched func()
}

// routes are open to everybody. Who is known has the prices of his groups.
func (s *server) routes(r chi.Router) {
	r.Get("/v1/prices", s.api.Handle(s.list))
}

// operatorRoutes are on the admin port.
func (s *server) operatorRoutes(r chi.Router) {
	r.Get("/v1/prices", s.api.Handle(s.list))
	r.Get("/v1/prices/lists", s.api.Handle(s.listLists))
	r.Get("/v1/prices/lists/{name}", s.api.Handle(s.getList))
	r.Put("/v1/prices/lists/{name}", s.api.Handle(s.putList))
	r.Delete("/v1/prices/lists/{name}", s.api.Handle(s.deleteList))
	r.Get("/v1/prices/lists/{name}/prices", s.api.Handle(s.getPrices))
	r.Put("/v1/prices/lists/{name}/prices", s.api.Handle(s.putPrices))
	r.Get("/v1/prices/promotions", s.api.Handle(s.listPromotions))
	r.Get("/v1/prices/promotions/{name}", s.api.Handle(s.getPromotion))
	r.Put("/v1/prices/promotions/{name}", s.api.Handle(s.putPromotion))
	r.Delete("/v1/prices/promotions/{name}", s.api.Handle(s.deletePromotion))
	r.Get("/v1/prices/taxes", s.api.Handle(s.listTaxes))
	r.Get("/v1/prices/taxes/{name}", s.api.Handle(s.getTax))
	r.Put("/v1/prices/taxes/{name}", s.api.Handle(s.putTax))
	r.Delete("/v1/prices/taxes/{name}", s.api.Handle(s.deleteTax))
	r.Get("/v1/prices/shipping", s.api.Handle(s.listShipping))
	r.Get("/v1/prices/shipping/{name}", s.api.Handle(s.getShipping))
	r.Put("/v1/prices/shipping/{name}", s.api.Handle(s.putShipping))
	r.Delete("/v1/prices/shipping/{name}", s.api.Handle(s.deleteShipping))
	r.Get("/v1/vouchers/{code}", s.api.Handle(s.getVoucher))
	r.Put("/v1/vouchers/{code}", s.api.Handle(s.putVoucher))
	r.Delete("/v1/vouchers/{code}", s.api.Handle(s.deleteVoucher))
	r.Post("/v1/prices/explanations", s.api.Handle(s.postExplanation))
}

// priceView is what a SKU costs the caller.
type priceView struct {
	SKU       string     `json:"sku"`
	ListPrice int64      `json:"list_price"`
	UnitPrice int64      `json:"unit_price"`
	Tiers     []tierView `json:"tiers"`
}

// tierView is what a piece costs who buys so many at least.
type tierView struct {
	MinQuantity int64 `json:"min_quantity"`
	UnitPrice   int64 `json:"unit_price"`
}

// list answers what SKUs cost the caller. Those that are not sold are left out.
func (s *server) list(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	currency, skus := query.Get("currency"), query["sku"]
	if !events.ValidCurrency(currency) {
		return fault.Field("currency", "malformed", "A currency is an ISO 4217 code, such as GBP.")
	}
	if len(skus) == 0 || len(skus) > maxSKUs {
		return fault.Field("sku", "out_of_range", "Name 1 to %d SKUs.", maxSKUs)
	}
	basket := pricing.Basket{Currency: currency}
	for _, sku := range skus {
		if err := events.CheckName("sku", sku); err != nil {
			return err
		}
		basket.Items = append(basket.Items, pricing.Item{SKU: sku, Quantity: 1})
	}
	who, _ := caller.From(r.Context())
	b, _, err := s.quoter.bookFor(r.Context(), basket)
	if err != nil {
		return err
	}
	bySKU := make(map[string][]pricing.Price, len(skus))
	for _, p := range b.Prices {
		bySKU[p.SKU] = append(bySKU[p.SKU], p)
	}
	views, now := []priceView{}, s.quoter.now()
	slices.Sort(skus)
	for _, sku := range slices.Compact(skus) {
		if v, sold := viewOf(sku, bySKU[sku], currency, who.Groups, now); sold {
			views = append(views, v)
		}
	}
	return rest.Write(w, http.StatusOK, map[string]any{"currency": currency, "prices": views})
}

func viewOf(sku string, prices []pricing.Price, currency string, groups []string, now time.Time) (v priceView, sold bool) {
	quantities := []int64{1}
	for _, p := range prices {
		quantities = append(quantities, p.MinQuantity)
	}
	slices.Sort(quantities)
	v = priceView{SKU: sku, Tiers: []tierView{}}
	for _, quantity := range slices.Compact(quantities) {
		best, sold := pricing.Best(prices, currency, groups, quantity, now)
		switch {
		case !sold:
			continue
		case len(v.Tiers) == 0:
			v.ListPrice, v.UnitPrice = best.ListPrice, best.Amount
		case best.Amount == v.Tiers[len(v.Tiers)-1].UnitPrice:
			continue
		}
		v.Tiers = append(v.Tiers, tierView{quantity, best.Amount})
	}
	return v, len(v.Tiers) > 0
}

var dayForm = regexp.MustCompile(`^\d{4}-\d\d-\d\d$`)

// moment is a time in a request: RFC 3339, or a date, which is the beginning of that day in
// the shop's time zone.
type moment string

func (s *server) timeOf(field string, m moment) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, string(m))
	if dayForm.MatchString(string(m)) {
		at, err = startOfDay(string(m), s.zone)
	}
	if err != nil || at.Year() < 2000 || at.Year() > 9999 {
		return at, fault.Field(field, "malformed", "%s is a time of RFC 3339, such as 2026-12-01T00:00:00Z, or a date, whose midnight in %s is meant.", field, s.zone)
	}
	return at.UTC().Truncate(time.Microsecond), nil
}

// startOfDay is the first moment of a day. Where the clock skips midnight as summer time
// begins that is later, and where midnight comes twice it is the first.
func startOfDay(day string, zone *time.Location) (time.Time, error) {
	near, err := time.ParseInLocation(time.DateOnly, day, zone)
	if err != nil {
		return near, err
	}
	for at := near.Add(-4 * time.Hour); ; at = at.Add(15 * time.Minute) { // clocks change at a quarter of an hour
		if at.Format(time.DateOnly) >= day {
			return at, nil
		}
	}
}

// period is when something is valid, in a request. Without valid_from it is so from now on.
type period struct {
	ValidFrom  *moment `json:"valid_from"`
	ValidUntil *moment `json:"valid_until"`
}

func (s *server) periodOf(p period) (pricing.Period, error) {
	out := pricing.Period{From: s.quoter.now().UTC().Truncate(time.Microsecond)}
	var err error
	if p.ValidFrom != nil {
		if out.From, err = s.timeOf("valid_from", *p.ValidFrom); err != nil {
			return out, err
		}
	}
	if p.ValidUntil != nil {
		until, err := s.timeOf("valid_until", *p.ValidUntil)
		if err != nil {
			return out, err
		}
		out.Until = &until
	}
	return out, out.Check()
}

// nameOf reads the name in the path.
func nameOf(r *http.Request, parameter string) (string, error) {
	name := chi.URLParam(r, parameter)
	return name, events.CheckName(parameter, name)
}

// explanation is how a quote came about.
type explanation struct {
	// Same says that the price book as it was gives the same again.
	Same  bool           `json:"same"`
	Steps []pricing.Step `json:"steps"`
}

func (s *server) postExplanation(w http.ResponseWriter, r *http.Request) error {
	var req struct {
		Token string `json:"token"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	e, err := s.prices.explain(r.Context(), req.Token)
	if errors.Is(err, quote.ErrInvalid) {
		return fault.Field("token", "malformed", "token is a quote, as price signed it.")
	}
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, e)
}

func checkRegion(region string) error {
	if region != "" && !regionForm.MatchString(region) {
		return fault.Field("region", "malformed", "region is a country of ISO 3166, such as GB, or a part of one, such as GB-NIR; leave it out for the shop's own.")
	}
	return nil
}

var regionForm = regexp.MustCompile(`^[A-Z]{2}(-[A-Z0-9]{1,3})?$`)

// inChange makes a revision of the book.
func (s *server) inChange(ctx context.Context, what string, do func(context.Context, *change) error) (revision int64, err error) {
	err = s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		c, err := begin(ctx, tx, what)
		if err != nil {
			return err
		}
		revision = c.revision
		return do(ctx, c)
	})
	return revision, err
}
