package customer

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"reflect"

	"github.com/go-chi/chi/v5"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/customer"
	"quadrille.internal/platform/caller"
	"quadrille.internal/platform/erasure"
	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/outbox"
	"quadrille.internal/platform/rest"
	"quadrille.internal/platform/telemetry"
	"quadrille.internal/services/customer/wire"
)

var pages = rest.Pages{Default: 50, Most: 200}

type server struct {
	store    *store
	erasures *erasures
	outbox   *outbox.Outbox
	api      rest.API
}

func (s *server) routes(r chi.Router) {
	r.Get("/v1/customers/{id}", s.api.Handle(s.get))
	r.Delete("/v1/customers/{id}", s.api.Handle(s.erase))
	r.Put("/v1/customers/{id}/profile", s.api.Handle(s.putProfile))
	r.Put("/v1/customers/{id}/addresses/{address}", s.api.Handle(s.putAddress))
	r.Delete("/v1/customers/{id}/addresses/{address}", s.api.Handle(s.removeAddress))
	r.Put("/v1/customers/{id}/consents/{purpose}", s.api.Handle(s.putConsent))
}

// operatorRoutes are on the admin port, where customers are everybody's.
func (s *server) operatorRoutes(r chi.Router) {
	r.Get("/v1/customers/{id}", s.api.Handle(s.get))
	r.Delete("/v1/customers/{id}", s.api.Handle(s.eraseNow))
	r.Put("/v1/customers/{id}/groups", s.api.Handle(s.putGroups))
	r.Get("/v1/erasures", s.api.Handle(s.listErasures))
}

// view is a customer as callers see it.
type view struct {
	ID string `json:"id"`
	record
	// Erasure is there once it was requested.
	Erasure *wire.Erasure `json:"erasure,omitempty"`
}

var errNotFound = fault.New(fault.NotFound, "customer_not_found", "Nothing is kept of such a customer.")

// customerOf returns the customer that the path names. One who is not the caller is not
// even admitted to exist.
func customerOf(r *http.Request) (string, error) {
	id := chi.URLParam(r, "id")
	if err := events.CheckName("id", id); err != nil {
		return "", err
	}
	if !caller.Is(r.Context(), id) {
		return "", errNotFound
	}
	return id, nil
}

func (s *server) get(w http.ResponseWriter, r *http.Request) error {
	id, err := customerOf(r)
	if err != nil {
		return err
	}
	found, err := s.store.load(r.Context(), s.store.pool, id)
	if errors.Is(err, errNoCustomer) {
		return errNotFound
	}
	if err != nil {
		return err
	}
	requested, err := find(r.Context(), s.store.pool, id)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, view{ID: id, record: *found, Erasure: requested})
}

// erase asks for the erasure of all that is known of the customer.
func (s *server) erase(w http.ResponseWriter, r *http.Request) error { return s.request(w, r, false) }

// eraseNow is erase, and tells services again that have not answered. Only operators may do
// that: a customer could have all services told as often as he likes.
func (s *server) eraseNow(w http.ResponseWriter, r *http.Request) error { return s.request(w, r, true) }

func (s *server) request(w http.ResponseWriter, r *http.Request, tell bool) error {
	id, err := customerOf(r)
	if err != nil {
		return err
	}
	requested, err := s.erasures.request(r.Context(), id, tell)
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusAccepted, requested)
}

// change runs a change of a customer who is not to be erased, whose key is new if this is
// the first.
func (s *server) change(ctx context.Context, id string, change func(context.Context, *outbox.Tx, *dataKey) error) error {
	return s.outbox.InTx(ctx, func(ctx context.Context, tx *outbox.Tx) error {
		if err := lock(ctx, tx, id); err != nil {
			return err
		}
		requested, err := find(ctx, tx, id)
		if err != nil {
			return err
		}
		if requested != nil {
			return erasure.Refused()
		}
		key, err := s.store.keyOrNew(ctx, tx, id)
		if err != nil {
			return err
		}
		return change(ctx, tx, key)
	})
}

func (s *server) putProfile(w http.ResponseWriter, r *http.Request) error {
	id, err := customerOf(r)
	if err != nil {
		return err
	}
	var p Profile
	if _, err := rest.Decode(w, r, &p); err != nil {
		return err
	}
	if err := p.validate(); err != nil {
		return err
	}
	err = s.change(r.Context(), id, func(_ context.Context, tx *outbox.Tx, key *dataKey) error {
		sealed, err := key.seal("profile", p)
		if err != nil {
			return err
		}
		tx.Last(`update customers set profile = $2, changed_at = $3 where id = $1`, id, sealed, tx.Now)
		return nil
	})
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, p)
}

func addressID(r *http.Request) (uuid.UUID, error) {
	id, err := uuid.Parse(chi.URLParam(r, "address"))
	if err != nil {
		return id, fault.Field("address", "not_a_uuid", "An address id is a UUID, which you make up.")
	}
	return id, nil
}

// putAddress adds an address. It never changes under its id: an order that was placed with
// it goes where the customer saw that it goes.
func (s *server) putAddress(w http.ResponseWriter, r *http.Request) error {
	id, err := customerOf(r)
	if err != nil {
		return err
	}
	address, err := addressID(r)
	if err != nil {
		return err
	}
	var a Address
	if _, err := rest.Decode(w, r, &a); err != nil {
		return err
	}
	if err := a.validate(); err != nil {
		return err
	}
	status := http.StatusCreated
	err = s.change(r.Context(), id, func(ctx context.Context, tx *outbox.Tx, key *dataKey) error {
		status = http.StatusCreated
		had, removed, err := s.store.address(ctx, tx, id, address)
		if err != nil {
			return err
		}
		if had != nil {
			if removed || !reflect.DeepEqual(*had, a) {
				return fault.New(fault.Conflict, "address_exists", "There is another address of this id, and addresses never change: add it with an id of its own.")
			}
			status = http.StatusOK
			return nil
		}
		return addAddress(ctx, tx, key, address, &a)
	})
	if err != nil {
		return err
	}
	return rest.Write(w, status, a)
}

func addAddress(ctx context.Context, tx *outbox.Tx, key *dataKey, id uuid.UUID, a *Address) error {
	sealed, err := key.seal(addressPlace(id), a)
	if err != nil {
		return err
	}
	added, err := tx.Exec(ctx, `
		insert into addresses (customer_id, id, sealed, added_at) select $1, $2, $3, $4
		where (select count(*) from addresses where customer_id = $1 and removed_at is null) < $5`,
		key.customerID, id, sealed, tx.Now, maxAddresses)
	if err == nil && added.RowsAffected() == 0 {
		return fault.New(fault.Conflict, "too_many_addresses", "A customer has up to %d addresses: remove one first.", maxAddresses)
	}
	return err
}

func (s *server) removeAddress(w http.ResponseWriter, r *http.Request) error {
	id, err := customerOf(r)
	if err != nil {
		return err
	}
	address, err := addressID(r)
	if err != nil {
		return err
	}
	removed, err := s.store.pool.Exec(r.Context(), `update addresses set removed_at = coalesce(removed_at, now()) where customer_id = $1 and id = $2`, id, address)
	if err != nil {
		return err
	}
	if removed.RowsAffected() == 0 {
		return fault.New(fault.NotFound, "address_not_found", "The customer has no such address.")
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) putConsent(w http.ResponseWriter, r *http.Request) error {
	id, err := customerOf(r)
	if err != nil {
		return err
	}
	c := Consent{Purpose: chi.URLParam(r, "purpose")}
	if err := checkPurpose(c.Purpose); err != nil {
		return err
	}
	var body struct {
		Granted *bool `json:"granted"`
	}
	if _, err := rest.Decode(w, r, &body); err != nil {
		return err
	}
	if body.Granted == nil {
		return fault.Field("granted", "required", "Say whether it is granted: true or false.")
	}
	c.Granted = *body.Granted
	err = s.change(r.Context(), id, func(_ context.Context, tx *outbox.Tx, _ *dataKey) error {
		c.ChangedAt = tx.Now
		// What was said before and says the same stays: it has the date that counts.
		tx.Last(`
			insert into consents (customer_id, purpose, changed_at, granted) select $1, $2, $3, $4
			where $4 is distinct from (select granted from consents where customer_id = $1 and purpose = $2 order by changed_at desc limit 1)`,
			id, c.Purpose, c.ChangedAt, c.Granted)
		tx.Last(`select changed_at from consents where customer_id = $1 and purpose = $2 order by changed_at desc limit 1`, id, c.Purpose).
			QueryRow(func(row pgx.Row) error { return row.Scan(&c.ChangedAt) })
		return nil
	})
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, c)
}

// putGroups says which price groups a customer belongs to.
func (s *server) putGroups(w http.ResponseWriter, r *http.Request) error {
	id, err := customerOf(r)
	if err != nil {
		return err
	}
	var body struct {
		Groups []string `json:"groups"`
	}
	if _, err := rest.Decode(w, r, &body); err != nil {
		return err
	}
	if body.Groups == nil || len(body.Groups) > maxGroups {
		return fault.Field("groups", "out_of_range", "A customer is in 0 to %d groups.", maxGroups)
	}
	for _, g := range body.Groups {
		if err := events.CheckName("groups", g); err != nil {
			return err
		}
	}
	changed := customer.GroupsChanged{OfCustomer: events.OfCustomer{CustomerID: id}}
	err = s.change(r.Context(), id, func(ctx context.Context, tx *outbox.Tx, _ *dataKey) error {
		had, version, err := loadGroups(ctx, tx, id)
		if err != nil {
			return err
		}
		var same bool
		changed.Version = version
		if changed.Groups, same = sameGroups(had, body.Groups); same {
			return nil
		}
		changed.Version++
		tx.Last(`update customers set groups = $2, groups_version = $3, changed_at = $4 where id = $1`, id, changed.Groups, changed.Version, tx.Now)
		return tx.Emit(telemetry.TraceParent(ctx), &changed)
	})
	if err != nil {
		return err
	}
	return rest.Write(w, http.StatusOK, changed)
}

// listErasures lists the requests that somebody has not answered.
func (s *server) listErasures(w http.ResponseWriter, r *http.Request) error {
	limit, after, err := rest.ReadPage(r, pages, []byte{}, hex.DecodeString)
	if err != nil {
		return err
	}
	found, err := list(r.Context(), s.store.pool, `where r.ended_at is null and r.digest > $1 order by r.digest limit $2`, after, limit+1)
	if err != nil {
		return err
	}
	page := wire.Erasures{Erasures: []wire.Erasure{}}
	found, page.Next = rest.CutPage(found, limit, func(last listed) string { return hex.EncodeToString(last.digest) })
	for _, l := range found {
		page.Erasures = append(page.Erasures, l.Erasure)
	}
	return rest.Write(w, http.StatusOK, page)
}
