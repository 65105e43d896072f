package price

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/services/price/book"
	"quadrille.internal/services/price/pricing"
)

// maxDocuments is how many documents of a kind there may be at a time: every quote looks
// through them. Vouchers are looked up by their code, and are not bounded.
const maxDocuments = 1_000

// Views of documents: what the book says, and since which revision.
type (
	listView struct {
		Name     string `json:"name"`
		Revision int64  `json:"revision"`
		pricing.List
	}
	promotionView struct {
		Name     string `json:"name"`
		Revision int64  `json:"revision"`
		pricing.Rule
	}
	taxView struct {
		Name     string `json:"name"`
		Revision int64  `json:"revision"`
		pricing.RegionTax
	}
	shippingView struct {
		Name     string `json:"name"`
		Revision int64  `json:"revision"`
		pricing.Shipping
	}
)

func (d document) list() (v listView, err error) {
	v.Name, v.Revision = d.Name, d.Since
	return v, json.Unmarshal(d.Body, &v.List)
}

func (d document) promotion() (v promotionView, err error) {
	v.Name, v.Revision = d.Name, d.Since
	return v, json.Unmarshal(d.Body, &v.Rule)
}

func (d document) tax() (v taxView, err error) {
	v.Name, v.Revision = d.Name, d.Since
	return v, json.Unmarshal(d.Body, &v.RegionTax)
}

func (d document) shipping() (v shippingView, err error) {
	v.Name, v.Revision = d.Name, d.Since
	return v, json.Unmarshal(d.Body, &v.Shipping)
}

func (s *server) listLists(w http.ResponseWriter, r *http.Request) error {
	return listAll(s, w, r, book.KindList, "lists", document.list)
}

func (s *server) getList(w http.ResponseWriter, r *http.Request) error {
	return getOne(s, w, r, book.KindList, document.list)
}

func (s *server) deleteList(w http.ResponseWriter, r *http.Request) error {
	return s.endDocument(w, r, book.KindList)
}

func (s *server) listPromotions(w http.ResponseWriter, r *http.Request) error {
	return listAll(s, w, r, book.KindPromotion, "promotions", document.promotion)
}

func (s *server) getPromotion(w http.ResponseWriter, r *http.Request) error {
	return getOne(s, w, r, book.KindPromotion, document.promotion)
}

func (s *server) deletePromotion(w http.ResponseWriter, r *http.Request) error {
	return s.endDocument(w, r, book.KindPromotion)
}

func (s *server) listTaxes(w http.ResponseWriter, r *http.Request) error {
	return listAll(s, w, r, book.KindTax, "taxes", document.tax)
}

func (s *server) getTax(w http.ResponseWriter, r *http.Request) error {
	return getOne(s, w, r, book.KindTax, document.tax)
}

func (s *server) deleteTax(w http.ResponseWriter, r *http.Request) error {
	return s.endDocument(w, r, book.KindTax)
}

func (s *server) listShipping(w http.ResponseWriter, r *http.Request) error {
	return listAll(s, w, r, book.KindShipping, "shipping", document.shipping)
}

func (s *server) getShipping(w http.ResponseWriter, r *http.Request) error {
	return getOne(s, w, r, book.KindShipping, document.shipping)
}

func (s *server) deleteShipping(w http.ResponseWriter, r *http.Request) error {
	return s.endDocument(w, r, book.KindShipping)
}

func listAll[V any](s *server, w http.ResponseWriter, r *http.Request, kind, field string, view func(document) (V, error)) error {
	limit, after, err := rest.ReadPage(r, pages, "", func(c string) (string, error) { return c, events.CheckName("cursor", c) })
	if err != nil {
		return err
	}
	found, err := s.documents(r.Context(), selectDocuments+`name > $2 order by name limit $3`, kind, after, limit+1)
	if err != nil {
		return err
	}
	found, next := rest.CutPage(found, limit, func(last document) string { return last.Name })
	views := make([]V, len(found))
	for i, d := range found {
		if views[i], err = view(d); err != nil {
			return fmt.Errorf("read %s %s: %w", kind, d.Name, err)
		}
	}
	answer := map[string]any{field: views}
	if next != "" {
		answer["next_cursor"] = next
	}
	return rest.Write(w, http.StatusOK, answer)
}

func getOne[V any](s *server, w http.ResponseWriter, r *http.Request, kind string, view func(document) (V, error)) error {
	name, err := nameOf(r, "name")
	if err != nil {
		return err
	}
	d, err := s.document(r.Context(), kind, name)
	if err != nil {
		return err
	}
	if d == nil {
		return notFound(kind, name)
	}
	v, err := view(*d)
	if err != nil {
		return fmt.Errorf("read %s %s: %w", kind, name, err)
	}
	return rest.Write(w, http.StatusOK, v)
}

func notFound(kind, name string) error {
	return fault.New(fault.NotFound, "not_in_price_book", "There is no %s %s.", kind, name)
}

// putDocument makes a document say something else, and answers with it.
func (s *server) putDocument(ctx context.Context, kind, name string, body any) (revision int64, err error) {
	return s.inChange(ctx, "put "+kind+" "+name, func(ctx context.Context, c *change) error {
		added, err := c.put(ctx, kind, name, body)
		if err != nil {
			return err
		}
		if list, isList := body.(pricing.List); isList {
			if added {
				if err := c.emptyList(ctx, name); err != nil {
					return err
				}
			}
			if err := c.switchAt(ctx, name, list); err != nil {
				return err
			}
			c.AfterCommit(s.switched)
		}
		return c.checkCount(ctx, kind)
	})
}

func (c *change) checkCount(ctx context.Context, kind string) error {
	rows, err := c.Query(ctx, `select from documents where kind = $1 and until is null limit $2`, kind, maxDocuments+1)
	if err != nil {
		return fmt.Errorf("count documents: %w", err)
	}
	n := 0
	for rows.Next() {
		n++
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("count documents: %w", err)
	}
	if n > maxDocuments {
		return fault.New(fault.Conflict, "too_many", "There may be %d of these at a time: delete those that are over.", maxDocuments)
	}
	return nil
}

// endDocument ends a document; what was computed by it can still be computed again.
func (s *server) endDocument(w http.ResponseWriter, r *http.Request, kind string) error {
	name, err := nameOf(r, "name")
	if err != nil {
		return err
	}
	_, err = s.inChange(r.Context(), "delete "+kind+" "+name, func(ctx context.Context, c *change) error {
		ended, err := c.end(ctx, kind, name)
		if err != nil {
			return err
		}
		if !ended {
			return notFound(kind, name)
		}
		if kind == book.KindList {
			c.AfterCommit(s.switched)
			return c.switchAt(ctx, name, pricing.List{})
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) putList(w http.ResponseWriter, r *http.Request) error {
	name, err := nameOf(r, "name")
	if err != nil {
		return err
	}
	var req struct {
		Group    string `json:"group"`
		Currency string `json:"currency"`
		period
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	l := pricing.List{Group: req.Group, Currency: req.Currency}
	if l.Group != "" {
		if err := events.CheckName("group", l.Group); err != nil {
			return err
		}
	}
	if !events.ValidCurrency(l.Currency) {
		return fault.Field("currency", "malformed", "A currency is an ISO 4217 code, such as GBP.")
	}
	if l.Period, err = s.periodOf(req.period); err != nil {
		return err
	}
	revision, err := s.putDocument(r.Context(), book.KindList, name, l)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, listView{name, revision, l})
}

// ruleRequest is a rule as operators send it.
type ruleRequest struct {
	Kind        pricing.Kind     `json:"kind"`
	Priority    int64            `json:"priority"`
	Exclusive   bool             `json:"exclusive"`
	SKUs        []string         `json:"skus"`
	Groups      []string         `json:"groups"`
	Currency    string           `json:"currency"`
	MinQuantity int64            `json:"min_quantity"`
	MinSubtotal int64            `json:"min_subtotal"`
	Rate        int64            `json:"rate"`
	Amount      int64            `json:"amount"`
	Buy         int64            `json:"buy"`
	Get         int64            `json:"get"`
	Rounding    pricing.Rounding `json:"rounding"`
	period
}

func (s *server) ruleOf(req ruleRequest) (pricing.Rule, error) {
	p, err := s.periodOf(req.period)
	if err != nil {
		return pricing.Rule{}, err
	}
	rule := pricing.Rule{
		Kind: req.Kind, Priority: req.Priority, Exclusive: req.Exclusive, SKUs: req.SKUs, Groups: req.Groups, Currency: req.Currency,
		MinQuantity: req.MinQuantity, MinSubtotal: req.MinSubtotal, Rate: req.Rate, Amount: req.Amount, Buy: req.Buy, Get: req.Get,
		Rounding: req.Rounding, Period: p,
	}
	return rule, rule.Check()
}

func (s *server) putPromotion(w http.ResponseWriter, r *http.Request) error {
	name, err := nameOf(r, "name")
	if err != nil {
		return err
	}
	var req ruleRequest
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	rule, err := s.ruleOf(req)
	if err != nil {
		return err
	}
	revision, err := s.putDocument(r.Context(), book.KindPromotion, name, rule)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, promotionView{name, revision, rule})
}

func (s *server) putTax(w http.ResponseWriter, r *http.Request) error {
	name, err := nameOf(r, "name")
	if err != nil {
		return err
	}
	var req struct {
		Region     string                 `json:"region"`
		Rate       *int64                 `json:"rate"`
		Rounding   pricing.Rounding       `json:"rounding"`
		Exceptions []pricing.TaxException `json:"exceptions"`
		period
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if err := checkRegion(req.Region); err != nil {
		return err
	}
	if req.Rate == nil {
		return fault.Field("rate", "required", "Say the rate, in millionths; 0 is no tax.")
	}
	tax := pricing.RegionTax{Region: req.Region, Rate: *req.Rate, Rounding: req.Rounding, Exceptions: req.Exceptions}
	if tax.Period, err = s.periodOf(req.period); err != nil {
		return err
	}
	if err := tax.Check(); err != nil {
		return err
	}
	revision, err := s.putDocument(r.Context(), book.KindTax, name, tax)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, taxView{name, revision, tax})
}

func (s *server) putShipping(w http.ResponseWriter, r *http.Request) error {
	name, err := nameOf(r, "name")
	if err != nil {
		return err
	}
	var req struct {
		Region   string `json:"region"`
		Currency string `json:"currency"`
		Amount   *int64 `json:"amount"`
		FreeFrom *int64 `json:"free_from"`
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if err := checkRegion(req.Region); err != nil {
		return err
	}
	if !events.ValidCurrency(req.Currency) {
		return fault.Field("currency", "malformed", "A currency is an ISO 4217 code, such as GBP.")
	}
	if req.Amount == nil || *req.Amount < 0 || *req.Amount > events.MaxUnitPrice {
		return fault.Field("amount", "out_of_range", "amount is a number from 0 to %d, in minor units.", events.MaxUnitPrice)
	}
	if req.FreeFrom != nil && (*req.FreeFrom < 0 || *req.FreeFrom > events.MaxUnitPrice) {
		return fault.Field("free_from", "out_of_range", "free_from is a number from 0 to %d, in minor units.", events.MaxUnitPrice)
	}
	shipping := pricing.Shipping{Region: req.Region, Currency: req.Currency, Amount: *req.Amount, FreeFrom: req.FreeFrom}
	revision, err := s.putDocument(r.Context(), book.KindShipping, name, shipping)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, shippingView{name, revision, shipping})
}
