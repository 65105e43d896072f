package b2b

import (
	"cmp"
	"context"
	"net/http"

	"github.com/go-chi/chi/v5"

	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/rest"
	"quadrille.internal/workflows/b2b/wire"
)

// checkBuyer refuses an order in the name of somebody else, or of another company.
func checkBuyer(ctx context.Context, o *wire.NewOrder) error {
	return cmp.Or(caller.CheckIs(ctx, "ordered_by", o.OrderedBy), caller.CheckActsFor(ctx, "company_id", o.CompanyID))
}

// ofCaller lets callers at the orders of their own company only. Those of others are
// not even admitted to exist. A company may name approvers as another does, so the
// person alone says nothing.
func (s *server) ofCaller(h rest.Handler) rest.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx := r.Context()
		if _, known := caller.From(ctx); !known {
			return h(w, r)
		}
		id, err := rest.PathID(r, "An order id is a UUID.")
		if err != nil {
			return err
		}
		o, err := loadOrder(ctx, s.pool, id)
		if err != nil {
			return err
		}
		if !caller.ActsFor(ctx, o.CompanyID) {
			return fault.New(fault.NotFound, "order_not_found", "There is no such order.")
		}
		return h(w, r)
	}
}

// checkApprover refuses who decides as somebody else, or has not the scope for it. Without
// a name in the request the approver is its caller.
func checkApprover(ctx context.Context, approver *string) error {
	if c, known := caller.From(ctx); known && *approver == "" {
		*approver = c.ID
	}
	return cmp.Or(caller.CheckIs(ctx, "approver", *approver), caller.CheckScope(ctx, caller.ScopeApprover))
}

// callersCompany shows callers their own company.
func (s *server) callersCompany(w http.ResponseWriter, r *http.Request) error {
	if id := chi.URLParam(r, "company"); !caller.ActsFor(r.Context(), id) {
		return fault.New(fault.NotFound, "company_not_found", "There is no company %q.", id)
	}
	return s.getCompany(w, r)
}
