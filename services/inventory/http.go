package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/intake"
	"quadrille.internal/platform/rest"
)

const (
	maxWarehouses = 100
	maxOnHand     = 1_000_000_000
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
}

// view is a SKU's stock as callers see it.
type view struct {
	SKU        string          `json:"sku"`
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
	v := view{SKU: sku}
	for _, st := range stocks {
		v.Available += st.Available()
		v.Warehouses = append(v.Warehouses, warehouseView{st.Warehouse, st.OnHand, st.Held, st.Available()})
	}
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
	ctx := r.Context()
	if err := setStock(ctx, s.pool, stocks); err != nil {
		return err
	}
	return s.answer(ctx, w, sku)
}

func (c counts) stocks(sku string) ([]Stock, error) {
	if len(c.Warehouses) == 0 || len(c.Warehouses) > maxWarehouses {
		return nil, fault.Field("warehouses", "out_of_range", "Name 1 to %d warehouses.", maxWarehouses)
	}
	seen := make(map[string]bool)
	var stocks []Stock
	for i, wh := range c.Warehouses {
		field := fmt.Sprintf("warehouses[%d].", i)
		switch {
		case !intake.ValidName(wh.Warehouse):
			return nil, fault.Field(field+"warehouse", "malformed", "A warehouse is 1 to 64 of A-Z a-z 0-9 . _ -.")
		case seen[wh.Warehouse]:
			return nil, fault.Field(field+"warehouse", "repeated", "Each warehouse may be named once.")
		case wh.OnHand == nil || *wh.OnHand < 0 || *wh.OnHand > maxOnHand:
			return nil, fault.Field(field+"on_hand", "out_of_range", "on_hand is a number from 0 to %d.", maxOnHand)
		}
		seen[wh.Warehouse] = true
		stocks = append(stocks, Stock{SKU: sku, Warehouse: wh.Warehouse, OnHand: *wh.OnHand})
	}
	return stocks, nil
}

func skuOf(r *http.Request) (string, error) {
	sku := chi.URLParam(r, "sku")
	if !intake.ValidName(sku) {
		return "", fault.Field("sku", "malformed", "A SKU is 1 to 64 of A-Z a-z 0-9 . _ -.")
	}
	return sku, nil
}
