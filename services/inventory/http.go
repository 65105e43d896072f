package inventory

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/events"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/idempotency"
	"quadrille.internal/platform/rest"
)

const (
	maxWarehouses = 100
	maxOnHand     = 1_000_000_000
	maxReason     = 200
)

type server struct {
	pool *pgxpool.Pool
	api  rest.API
}

func (s *server) routes(r chi.Router) {
	r.Get("/v1/stock/{sku}", s.api.Handle(s.get))
}

// operatorRoutes are on the admin port: who may set stock may give it away.
func (s *server) operatorRoutes(r chi.Router) {
	r.Get("/v1/stock/{sku}", s.api.Handle(s.get))
	r.Put("/v1/stock/{sku}", s.api.Handle(s.put))
	r.Post("/v1/stock/{sku}/adjustments", s.api.Handle(s.adjust))
}

// view is a SKU's stock as callers see it. Version is its ETag without the quotes.
type view struct {
	SKU        string          `json:"sku"`
	Version    string          `json:"version"`
	Available  int64           `json:"available"`
	Warehouses []warehouseView `json:"warehouses"`
}

type warehouseView struct {
	Warehouse string `json:"warehouse"`
	OnHand    int64  `json:"on_hand"`
	Held      int64  `json:"held"`
	Available int64  `json:"available"`
}

func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	sku, err := skuOf(r)
	if err != nil {
		return err
	}
	return s.answer(r.Context(), w, sku)
}

func (s *server) answer(ctx context.Context, w http.ResponseWriter, sku string) error {
	stocks, err := getStock(ctx, s.pool, sku)
	if errors.Is(err, errNoStock) {
		return fault.New(fault.NotFound, "sku_not_found", "No warehouse has ever had this SKU.")
	}
	if err != nil {
		return err
	}
	v := view{SKU: sku, Version: Version(stocks)}
	for _, st := range stocks {
		v.Available += st.Available()
		v.Warehouses = append(v.Warehouses, warehouseView{st.Warehouse, st.OnHand, st.Held, st.Available()})
	}
	w.Header().Set("ETag", `"`+v.Version+`"`)
	return rest.Write(w, http.StatusOK, v)
}

// counts is a count of a SKU in some warehouses; the others stay as they are.
type counts struct {
	Warehouses []struct {
		Warehouse string `json:"warehouse"`
		OnHand    *int64 `json:"on_hand"`
	} `json:"warehouses"`
}

func (s *server) put(w http.ResponseWriter, r *http.Request) error {
	sku, err := skuOf(r)
	if err != nil {
		return err
	}
	var c counts
	if _, err := rest.Decode(w, r, &c); err != nil {
		return err
	}
	stocks, err := c.stocks(sku)
	if err != nil {
		return err
	}
	p, err := preconditionOf(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	if err := setStock(ctx, s.pool, stocks, p); err != nil {
		return err
	}
	return s.answer(ctx, w, sku)
}

var etag = regexp.MustCompile(`^"[\x21\x23-\x7e]{1,100}"$`)

// preconditionOf reads If-Match or If-None-Match, one of which a count must have. Of
// the forms that RFC 9110 knows those are taken that say something here: one entity
// tag, or none at all (*).
func preconditionOf(r *http.Request) (p precondition, err error) {
	match, none := r.Header.Values("If-Match"), r.Header.Values("If-None-Match")
	switch {
	case len(match)+len(none) == 0:
		return p, fault.New(fault.PreconditionRequired, "precondition_required",
			"Send If-Match with the ETag of the stock that was counted, or If-None-Match: * where there was none. To add or take away, post an adjustment.")
	case len(match) == 1 && len(none) == 0 && etag.MatchString(match[0]):
		return precondition{version: strings.Trim(match[0], `"`)}, nil
	case len(match) == 0 && len(none) == 1 && none[0] == "*":
		return precondition{absent: true}, nil
	case len(none) > 0:
		return p, fault.Field("If-None-Match", "malformed", "Send If-None-Match: * or If-Match with one entity tag.")
	default:
		return p, fault.Field("If-Match", "malformed", "Send If-Match with one entity tag, as ETag gave it.")
	}
}

// adjustment is what came in or went out of some warehouses, and why.
type adjustment struct {
	Reason     string `json:"reason"`
	Warehouses []struct {
		Warehouse string `json:"warehouse"`
		Delta     int64  `json:"delta"`
	} `json:"warehouses"`
}

func (s *server) adjust(w http.ResponseWriter, r *http.Request) error {
	sku, err := skuOf(r)
	if err != nil {
		return err
	}
	key, err := idempotency.Key(r)
	if err != nil {
		return err
	}
	var a adjustment
	if _, err := rest.Decode(w, r, &a); err != nil {
		return err
	}
	moved, err := a.movements(sku)
	if err != nil {
		return err
	}
	lines(moved, key)
	ctx := r.Context()
	if err := adjust(ctx, s.pool, moved); err != nil {
		return err
	}
	return s.answer(ctx, w, sku)
}

func (a adjustment) movements(sku string) ([]Movement, error) {
	switch {
	case strings.TrimSpace(a.Reason) == "":
		return nil, fault.Field("reason", "required", "Say why the stock changes.")
	case len(a.Reason) > maxReason:
		return nil, fault.Field("reason", "too_long", "A reason has %d bytes at most.", maxReason)
	}
	named := make([]string, len(a.Warehouses))
	moved := make([]Movement, len(a.Warehouses))
	for i, wh := range a.Warehouses {
		if wh.Delta == 0 || wh.Delta < -maxOnHand || wh.Delta > maxOnHand {
			return nil, fault.Field(fmt.Sprintf("warehouses[%d].delta", i), "out_of_range", "delta is a number from -%d to %[1]d, and not 0.", maxOnHand)
		}
		named[i] = wh.Warehouse
		moved[i] = Movement{SKU: sku, Warehouse: wh.Warehouse, Delta: wh.Delta, Reason: a.Reason}
	}
	return moved, checkWarehouses(named)
}

// checkWarehouses checks the warehouses that a request names.
func checkWarehouses(names []string) error {
	if len(names) == 0 || len(names) > maxWarehouses {
		return fault.Field("warehouses", "out_of_range", "Name 1 to %d warehouses.", maxWarehouses)
	}
	seen := make(map[string]bool)
	for i, name := range names {
		field := fmt.Sprintf("warehouses[%d].warehouse", i)
		switch {
		case !events.ValidName(name):
			return fault.Field(field, "malformed", "A warehouse is 1 to 64 of A-Z a-z 0-9 . _ -.")
		case seen[name]:
			return fault.Field(field, "repeated", "Each warehouse may be named once.")
		}
		seen[name] = true
	}
	return nil
}

func (c counts) stocks(sku string) ([]Stock, error) {
	named := make([]string, len(c.Warehouses))
	stocks := make([]Stock, len(c.Warehouses))
	for i, wh := range c.Warehouses {
		named[i] = wh.Warehouse
	}
	if err := checkWarehouses(named); err != nil {
		return nil, err
	}
	for i, wh := range c.Warehouses {
		if wh.OnHand == nil || *wh.OnHand < 0 || *wh.OnHand > maxOnHand {
			return nil, fault.Field(fmt.Sprintf("warehouses[%d].on_hand", i), "out_of_range", "on_hand is a number from 0 to %d.", maxOnHand)
		}
		stocks[i] = Stock{SKU: sku, Warehouse: wh.Warehouse, OnHand: *wh.OnHand}
	}
	return stocks, nil
}

func skuOf(r *http.Request) (string, error) {
	sku := chi.URLParam(r, "sku")
	if !events.ValidName(sku) {
		return "", fault.Field("sku", "malformed", "A SKU is 1 to 64 of A-Z a-z 0-9 . _ -.")
	}
	return sku, nil
}
