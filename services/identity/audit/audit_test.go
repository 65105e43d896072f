package audit_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/identity"
	"quadrille.internal/services/identity/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each rule finds what breaks it, and nothing in books that are right.
func TestRulesFindFaults(t *testing.T) {
	spec := identity.Service()
	pool := pgtest.Open(t, spec.Migrations)
	const key = `insert into signing_keys (id, state, sealed, created_at, moved_at) values ($1, $2, '', now(), now())`
	account := uuid.New()
	servicetest.Exec(t, pool, `insert into accounts (id, password, scopes, created_at) values ($1, 'x', '{}', now())`, account)
	const session = `insert into sessions (id, account_id, token_hash, generation, exchanges, created_at, used_at, expires_at, revoked_at, revoked_for)
		values (gen_random_uuid(), $1, '', 0, '{}', now(), now(), now() + interval '1 h', now() + $2::interval, 'logout')`
	servicetest.Exec(t, pool, key, "a", "current")
	servicetest.Exec(t, pool, key, "b", "next")
	servicetest.Exec(t, pool, session, account, "1 min")
	want := []string{"what is revoked was used before, and ended once", "one key signs and one is next", "every account has a way to sign in"}
	if rules := servicetest.CheckBooks(t, pool, audit.Books, uuid.New()); !slices.Equal(rules, want) {
		t.Errorf("rules %q", rules)
	}
	servicetest.Exec(t, pool, session, account, "-1 min")
	servicetest.Exec(t, pool, `update accounts set password = null`)
	servicetest.Exec(t, pool, `delete from signing_keys where id = 'b'`)
	checks, err := audit.Books.Check(t.Context(), pgtest.Auditor(t, pool))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		if len(c.Faults) != 1 {
			t.Errorf("%s: %d faults, want 1: %v", c.Name, len(c.Faults), c.Faults)
		}
	}
}
