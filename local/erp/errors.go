package main

import (
	"errors"
	"net/http"

	"quadrille.internal/local/erp/ledger"
	"quadrille.internal/local/standin"
)

const typeOrder = "order_error"

var (
	errInternal = &standin.Error{
		Status: http.StatusInternalServerError, Type: standin.TypeAPI, Code: "internal",
		Message: "Something went wrong on our side. Whether the request was carried out is not known.",
	}
	errUnavailable = &standin.Error{
		Status: http.StatusServiceUnavailable, Type: standin.TypeAPI, Code: "unavailable",
		Message: "We are down. Nothing was done.",
	}
	errRejected = &standin.Error{
		Status: http.StatusUnprocessableEntity, Type: typeOrder, Code: "order_rejected",
		Message: "The order breaks a rule of this company's contract.",
	}
	errExists = &standin.Error{
		Status: http.StatusPreconditionFailed, Type: typeOrder, Code: "order_exists", Param: "external_id",
		Message: "An order with this external id exists.",
	}
)

// fromLedger is the one place where the ledger's refusals become answers.
func fromLedger(order ledger.Order, err error) error {
	switch {
	case errors.Is(err, ledger.ErrNoSuchOrder):
		return &standin.Error{
			Status: http.StatusNotFound, Type: standin.TypeInvalidRequest, Code: "resource_missing", Param: "id",
			Message: "No such order.",
		}
	case errors.Is(err, ledger.ErrSettled):
		return &standin.Error{
			Status: http.StatusConflict, Type: typeOrder, Code: "order_" + string(order.Status),
			Message: "The order is " + string(order.Status) + " already.",
		}
	default:
		return err
	}
}
