package b2b

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"quadrille.internal/platform/config"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/partner"
	"quadrille.internal/platform/telemetry"
)

const (
	erpTimeout = 10 * time.Second
	maxAnswer  = 1 << 20
)

// erp is the port to the company's ERP. It knows no idempotency keys, but creates
// conditionally: If-None-Match refuses a second order with our id and names the
// first. So an order is there once, however often a lost reply makes us ask.
type erp struct{ client *partner.Client }

func newERP(url string, key config.Secret) *erp {
	return &erp{partner.New(partner.Config{URL: url, Key: key, Timeout: erpTimeout, MaxAnswer: maxAnswer})}
}

// rejectedError is the ERP's final no.
type rejectedError struct{ message string }

func (e *rejectedError) Error() string { return e.message }

// create makes sure that the ERP has the order and returns its id there.
func (e *erp) create(ctx context.Context, o *Order) (string, error) {
	var made struct {
		ID    string `json:"id"`
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	status, err := e.call(ctx, http.MethodPost, "/v1/orders", map[string]any{
		"external_id": o.ID, "company_id": o.CompanyID, "currency": o.Currency, "total": o.Amount,
		"lines": o.Lines, "shipments": shipments(o),
	}, &made)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusCreated, status == http.StatusPreconditionFailed:
		if made.ID == "" {
			return "", erpFault(codeERPFailed, fmt.Errorf("ERP: status %d without an id", status))
		}
		return made.ID, nil
	case status == http.StatusUnprocessableEntity, status == http.StatusBadRequest, status == http.StatusRequestEntityTooLarge:
		// The same request will never be welcome; it is no use repeating it.
		return "", &rejectedError{made.Error.Message}
	default:
		return "", erpFault(codeERPFailed, fmt.Errorf("ERP: status %d: %s", status, made.Error.Message))
	}
}

// erpFault is trouble at the ERP: a code for everybody, the cause for operators.
func erpFault(code string, cause error) error {
	return &fault.Fault{Kind: fault.Unavailable, Code: code, Message: words[code], Cause: cause}
}

type shipment struct {
	Warehouse string         `json:"warehouse"`
	Lines     []shipmentLine `json:"lines"`
}

type shipmentLine struct {
	SKU      string `json:"sku"`
	Quantity int64  `json:"quantity"`
}

// shipments groups an order's allocations by warehouse.
func shipments(o *Order) []shipment {
	var list []shipment
	at := make(map[string]int)
	for _, a := range o.Allocations {
		i, ok := at[a.Warehouse]
		if !ok {
			i = len(list)
			at[a.Warehouse] = i
			list = append(list, shipment{Warehouse: a.Warehouse})
		}
		list[i].Lines = append(list[i].Lines, shipmentLine{a.SKU, a.Quantity})
	}
	return list
}

// cancel makes sure that the ERP has no open order of this id, now or later. A
// request that timed out may still be under way: so an order whose outcome is not
// known is first created, which makes any other attempt at it fail.
func (e *erp) cancel(ctx context.Context, o *Order) error {
	id := o.ERPOrderID
	if id == "" {
		var err error
		if id, err = e.create(ctx, pin(o)); err != nil {
			if _, rejected := errors.AsType[*rejectedError](err); rejected {
				return nil
			}
			return err
		}
	}
	status, err := e.call(ctx, http.MethodPost, "/v1/orders/"+url.PathEscape(id)+"/cancel", struct{}{}, &struct{}{})
	if err == nil && status != http.StatusOK {
		err = erpFault(codeERPFailed, fmt.Errorf("ERP: cancel %s: status %d", id, status))
	}
	return err
}

// pin is what is created at the ERP only to be cancelled. Of an order that is no
// longer what was approved, nothing is to leave a warehouse even in between.
func pin(o *Order) *Order {
	if v, _ := o.Ended(stepERP); v.Reason == nil || v.Reason.Code != reasonAltered {
		return o
	}
	empty := *o
	empty.Allocations = nil
	return &empty
}

// call sends a request and decodes the answer, whatever its status.
func (e *erp) call(ctx context.Context, method, path string, body, answer any) (int, error) {
	header := map[string]string{"traceparent": telemetry.TraceParent(ctx)}
	if method == http.MethodPost {
		header["If-None-Match"] = "*"
	}
	got, err := e.client.Do(ctx, partner.Request{Method: method, Path: path, Body: body, Header: header})
	if err != nil {
		return 0, erpFault(codeERPAway, fmt.Errorf("ERP: %w", err))
	}
	if json.Unmarshal(got.Body, answer) != nil && got.Status < http.StatusInternalServerError {
		return 0, erpFault(codeERPFailed, fmt.Errorf("ERP: status %d with an answer that is no JSON", got.Status))
	}
	return got.Status, nil
}
