package price

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/rest"
	"quadrille.internal/services/price/book"
	"quadrille.internal/services/price/pricing"
)

const maxUses = 1_000_000_000

// voucherView is a voucher as operators see it.
type voucherView struct {
	Code     string `json:"code"`
	Revision int64  `json:"revision"`
	MaxUses  int64  `json:"max_uses"`
	Held     int64  `json:"held"`
	Redeemed int64  `json:"redeemed"`
	pricing.Rule
}

func (s *server) getVoucher(w http.ResponseWriter, r *http.Request) error {
	code, err := nameOf(r, "code")
	if err != nil {
		return err
	}
	return s.answerVoucher(r.Context(), w, code)
}

func (s *server) answerVoucher(ctx context.Context, w http.ResponseWriter, code string) error {
	d, err := s.document(ctx, book.KindVoucher, code)
	if err != nil || d == nil {
		return orNotFound(err, book.KindVoucher, code)
	}
	v := voucherView{Code: code, Revision: d.Since}
	p, err := d.promotion()
	if err != nil {
		return fmt.Errorf("read voucher %s: %w", code, err)
	}
	v.Rule = p.Rule
	err = s.pool.QueryRow(ctx, `select max_uses, held, redeemed from vouchers where code = $1`, code).Scan(&v.MaxUses, &v.Held, &v.Redeemed)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("read voucher %s: %w", code, err)
	}
	return rest.Write(w, http.StatusOK, v)
}

func (s *server) putVoucher(w http.ResponseWriter, r *http.Request) error {
	code, err := nameOf(r, "code")
	if err != nil {
		return err
	}
	var req struct {
		MaxUses int64 `json:"max_uses"`
		ruleRequest
	}
	if _, err := rest.Decode(w, r, &req); err != nil {
		return err
	}
	if req.MaxUses < 1 || req.MaxUses > maxUses {
		return fault.Field("max_uses", "out_of_range", "max_uses is a number from 1 to %d.", maxUses)
	}
	rule, err := s.ruleOf(req.ruleRequest)
	if err != nil {
		return err
	}
	_, err = s.inChange(r.Context(), "put voucher "+code, func(ctx context.Context, c *change) error {
		c.Last(`insert into vouchers (code, max_uses) values ($1, $2)
			on conflict (code) do update set max_uses = excluded.max_uses`, code, req.MaxUses)
		_, err := c.put(ctx, book.KindVoucher, code, rule)
		return err
	})
	if pgtx.Violates(err, "vouchers_not_overdrawn") {
		return fault.New(fault.Conflict, "voucher_in_use", "More orders than that have the voucher already.")
	}
	if err != nil {
		return err
	}
	return s.answerVoucher(r.Context(), w, code)
}

// deleteVoucher ends a voucher. Orders that have it keep it.
func (s *server) deleteVoucher(w http.ResponseWriter, r *http.Request) error {
	code, err := nameOf(r, "code")
	if err != nil {
		return err
	}
	_, err = s.inChange(r.Context(), "delete voucher "+code, func(ctx context.Context, c *change) error {
		ended, err := c.end(ctx, book.KindVoucher, code)
		if err == nil && !ended {
			return notFound(book.KindVoucher, code)
		}
		return err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
