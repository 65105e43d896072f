package identity

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/events"
	"quadrille.internal/events/customer"
	"quadrille.internal/events/identity"
	"quadrille.internal/platform/servicetest"
)

// The account goes at once, and its sessions end, open orders or not.
func TestAnAccountIsErased(t *testing.T) {
	s := newShop(t)
	s.signIn(address)
	s.signIn("ben@example.com")
	in := servicetest.RunInbox(t, s.kit, s.server.forget.Handle(nil))
	var account string
	if err := s.kit.Pool.QueryRow(t.Context(), `select id from accounts order by created_at limit 1`).Scan(&account); err != nil {
		t.Fatal(err)
	}
	s.plantWaysIn(uuid.MustParse(account))
	servicetest.Exec(t, s.kit.Pool, `insert into mails (id, kind, address, account_id) values ($1, 'new_address', '', $2)`, uuid.New(), account)
	ask := func(id string) {
		t.Helper()
		in.Deliver(servicetest.Message(t, customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: id}, Deadline: time.Now()}, time.Now()))
		servicetest.EraseDue(t, s.kit.Pool, s.server.forget.Next)
	}
	ask(account)
	got := servicetest.Types(servicetest.EmittedAbout(t, s.kit.Pool, account))
	if want := []string{identity.TypeSessionRevoked, identity.TypeCustomerErased}; !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
	if a := s.login(address, pass); a.Status != 401 {
		t.Errorf("who is erased signs in: %d", a.Status)
	}
	if left := servicetest.Holding(t, s.kit.Pool, account); !slices.Equal(left, []string{"outbox"}) {
		t.Errorf("the id is in %v, want it in the answer only", left)
	}
	if a := s.login("ben@example.com", pass); a.Status >= 300 {
		t.Errorf("somebody else cannot sign in: %d %s", a.Status, a.Body)
	}
	ask("customer-17850") // of an import: no account
	if got := servicetest.EmittedAbout(t, s.kit.Pool, "customer-17850"); len(got) != 1 {
		t.Errorf("told %v of who has no account", got)
	}
	s.signIn(address) // as somebody new
}

// A sign-in that is not finished when the account is erased: its session is said to end too.
func TestASignInWhileTheAccountIsErased(t *testing.T) {
	s := newShop(t)
	first := s.signIn(address)
	in := servicetest.RunInbox(t, s.kit, s.server.forget.Handle(nil))
	in.Deliver(servicetest.Message(t, customer.ErasureRequested{OfCustomer: events.OfCustomer{CustomerID: first.AccountID.String()}, Deadline: time.Now()}, time.Now()))
	s.during(*first.AccountID, 1, func() { servicetest.EraseDue(t, s.kit.Pool, s.server.forget.Next) }, func(ctx context.Context, tx pgx.Tx) error {
		session, _, err := newSession(*first.AccountID, time.Now(), time.Hour)
		if err != nil {
			return err
		}
		return addSession(ctx, tx, session)
	})
	got := servicetest.Types(servicetest.EmittedAbout(t, s.kit.Pool, first.AccountID.String()))
	if want := []string{identity.TypeSessionRevoked, identity.TypeSessionRevoked, identity.TypeCustomerErased}; !slices.Equal(got, want) {
		t.Errorf("told %v, want %v", got, want)
	}
}
