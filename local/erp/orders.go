package main

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"quadrille.internal/local/erp/ledger"
	"quadrille.internal/local/standin"
)

// Limits, the ERP's own. The sum of nine million orders stays within an int64.
const (
	maxAmount   = 999_999_999_999
	maxQuantity = 1_000_000_000
	maxName     = 128 // bytes of a company, a SKU or a warehouse
)

// conditionHeader makes a create conditional, as RFC 9110 section 13.1.2 has it.
const conditionHeader = "If-None-Match"

// canonicalUUID has one form only: two forms would be two external ids.
var canonicalUUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func checkDraft(d ledger.Draft) error {
	if d.ExternalID == "" {
		return standin.BadRequest("parameter_missing", "external_id", "Missing required parameter.")
	}
	if !canonicalUUID.MatchString(d.ExternalID) {
		return standin.BadRequest("parameter_invalid", "external_id", "Must be a UUID in lower case.")
	}
	if err := checkName("company_id", d.CompanyID); err != nil {
		return err
	}
	if !standin.IsCurrency(d.Currency) {
		return standin.BadRequest("parameter_invalid", "currency", "Must be a three-letter ISO 4217 code in capitals.")
	}
	if err := checkNumber("total", d.Total, 1, maxAmount); err != nil {
		return err
	}
	if len(d.Lines) == 0 {
		return standin.BadRequest("parameter_missing", "lines", "An order has at least one line.")
	}
	if err := checkLines(d.Lines); err != nil {
		return err
	}
	return checkShipments(d.Shipments)
}

func checkLines(lines []ledger.Line) error {
	for i, line := range lines {
		at := fmt.Sprintf("lines[%d].", i)
		if err := checkItem(at, ledger.Item{SKU: line.SKU, Quantity: line.Quantity}); err != nil {
			return err
		}
		if err := checkNumber(at+"unit_price", line.UnitPrice, 0, maxAmount); err != nil {
			return err
		}
	}
	return nil
}

func checkShipments(shipments []ledger.Shipment) error {
	for i, shipment := range shipments {
		at := fmt.Sprintf("shipments[%d].", i)
		if err := checkName(at+"warehouse", shipment.Warehouse); err != nil {
			return err
		}
		if len(shipment.Lines) == 0 {
			return standin.BadRequest("parameter_missing", at+"lines", "A shipment has at least one line.")
		}
		for k, item := range shipment.Lines {
			if err := checkItem(fmt.Sprintf("%slines[%d].", at, k), item); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkItem(at string, item ledger.Item) error {
	if err := checkName(at+"sku", item.SKU); err != nil {
		return err
	}
	return checkNumber(at+"quantity", item.Quantity, 1, maxQuantity)
}

func checkName(param, name string) error {
	if name == "" {
		return standin.BadRequest("parameter_missing", param, "Missing required parameter.")
	}
	if len(name) > maxName {
		return standin.BadRequest("parameter_invalid", param, fmt.Sprintf("At most %d bytes.", maxName))
	}
	return nil
}

func checkNumber(param string, n, low, high int64) error {
	if n < low || n > high {
		return standin.BadRequest("parameter_invalid_integer", param, fmt.Sprintf("Must be between %d and %d.", low, high))
	}
	return nil
}

func (s *server) createOrder(w http.ResponseWriter, r *http.Request) error {
	var d ledger.Draft
	if err := standin.Decode(w, r, &d, "external_id", "company_id", "currency", "total", "lines", "shipments"); err != nil {
		return err
	}
	if err := checkDraft(d); err != nil {
		return err
	}
	onlyNew, err := wantsOnlyNew(r)
	if err != nil {
		return err
	}
	temper := temperOf(d.CompanyID)
	if temper.rejects {
		return errRejected
	}
	if temper.slow {
		s.Wait()
	}
	order, err := s.ledger.Create(d, onlyNew)
	if errors.Is(err, ledger.ErrExists) {
		return writeExisting(w, order)
	}
	if err != nil {
		return err
	}
	if temper.failsAfter {
		return errInternal
	}
	if temper.losesReply {
		standin.Cut()
	}
	return standin.WriteJSON(w, http.StatusCreated, order)
}

// wantsOnlyNew refuses conditions other than "*": taking one for none would
// create the second order that the caller meant to avoid.
func wantsOnlyNew(r *http.Request) (bool, error) {
	switch conditions := r.Header.Values(conditionHeader); {
	case len(conditions) == 0:
		return false, nil
	case len(conditions) == 1 && conditions[0] == "*":
		return true, nil
	default:
		return false, standin.BadRequest("parameter_invalid", conditionHeader, `Only "*" is supported.`)
	}
}

// writeExisting answers with the order beside the error, under the names that a
// success has, so that a retry finds its order where it looks for it.
func writeExisting(w http.ResponseWriter, order ledger.Order) error {
	return standin.WriteJSON(w, errExists.Status, struct {
		Error *standin.Error `json:"error"`
		ledger.Order
	}{errExists, order})
}

func (s *server) listOrders(w http.ResponseWriter, r *http.Request) error {
	return standin.List(w, r, "external_id", s.ledger.Orders)
}

func (s *server) showOrder(w http.ResponseWriter, r *http.Request) error {
	order, ok := s.ledger.Order(r.PathValue("id"))
	if !ok {
		return fromLedger(order, ledger.ErrNoSuchOrder)
	}
	return standin.WriteJSON(w, http.StatusOK, order)
}

func (s *server) cancelOrder(w http.ResponseWriter, r *http.Request) error {
	if order, _ := s.ledger.Order(r.PathValue("id")); temperOf(order.CompanyID).neverUndo {
		return errInternal
	}
	return s.settle(w, r, ledger.StatusCancelled)
}

func (s *server) shipOrder(w http.ResponseWriter, r *http.Request) error {
	return s.settle(w, r, ledger.StatusShipped)
}

func (s *server) settle(w http.ResponseWriter, r *http.Request, as ledger.Status) error {
	order, err := s.ledger.Settle(r.PathValue("id"), as)
	if err != nil {
		return fromLedger(order, err)
	}
	return standin.WriteJSON(w, http.StatusOK, order)
}

func (s *server) showSummary(w http.ResponseWriter, _ *http.Request) error {
	return standin.WriteJSON(w, http.StatusOK, s.ledger.Summary())
}
