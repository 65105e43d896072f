package main

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"quadrille.internal/local/erp/ledger"
	"quadrille.internal/local/standin/standintest"
)

// erp is a running server with the calls its tests make.
type erp struct{ *standintest.Server }

func startERP(t testing.TB) erp {
	t.Helper()
	return erp{standintest.Start(t, program)}
}

// externalID returns the n-th of our order ids.
func externalID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func orderBody(externalID, companyID string) string {
	return fmt.Sprintf(`{"external_id":%q,"company_id":%q,"currency":"GBP","total":3000,
		"lines":[{"sku":"A","quantity":2,"unit_price":1000},{"sku":"B","quantity":1,"unit_price":1000}],
		"shipments":[{"warehouse":"leeds","lines":[{"sku":"A","quantity":2}]},{"warehouse":"bath","lines":[{"sku":"B","quantity":1}]}]}`,
		externalID, companyID)
}

// create places an order of company c1, whether or not there is one.
func (e erp) create(n int) standintest.Answer {
	e.T.Helper()
	return e.Must(http.MethodPost, "/v1/orders", orderBody(externalID(n), "c1"))
}

// createOnce places an order only if there is none.
func (e erp) createOnce(n int, companyID string) standintest.Answer {
	e.T.Helper()
	return e.Must(http.MethodPost, "/v1/orders", orderBody(externalID(n), companyID), conditionHeader, "*")
}

// expectCut creates conditionally and demands that no answer comes.
func (e erp) expectCut(n int, companyID string) {
	e.T.Helper()
	body := orderBody(externalID(n), companyID)
	if a, err := e.Do(e.T.Context(), http.MethodPost, "/v1/orders", body, conditionHeader, "*"); err == nil {
		e.T.Fatalf("answered %d %s", a.Status, a.Body)
	}
}

// created places an order that must succeed.
func (e erp) created(n int) ledger.Order {
	e.T.Helper()
	a := e.create(n)
	standintest.Expect(e.T, a, http.StatusCreated, "")
	return standintest.Parse[ledger.Order](e.T, a)
}

func (e erp) cancel(id string) standintest.Answer {
	e.T.Helper()
	return e.Must(http.MethodPost, "/v1/orders/"+id+"/cancel", "")
}

// orders lists those of one external id.
func (e erp) orders(n int) []ledger.Order {
	e.T.Helper()
	a := e.Must(http.MethodGet, "/v1/orders?limit=1000&external_id="+externalID(n), "")
	return standintest.Parse[struct{ Data []ledger.Order }](e.T, a).Data
}

func (e erp) summary() ledger.Summary {
	e.T.Helper()
	return standintest.Parse[ledger.Summary](e.T, e.Must(http.MethodGet, "/v1/ledger/summary", ""))
}

// await calls until the answer has the status.
func (e erp) await(ctx context.Context, path string, status int) {
	e.T.Helper()
	for {
		a, err := e.Do(ctx, http.MethodGet, path, "")
		if err == nil && a.Status == status {
			return
		}
		if ctx.Err() != nil {
			e.T.Fatalf("%s: still %d %v", path, a.Status, err)
		}
	}
}
