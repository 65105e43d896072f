package pgtest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"strings"
	"sync"
	"testing"

	"quadrille.internal/platform/audit"
)

// The roles of all test databases of a server.
const (
	ownerRole = "quad_test_owner"
	// RuntimeRole is who services run as in tests.
	RuntimeRole = "quad_test_runtime"
	auditorRole = "quad_test_auditor"
)

var roles sync.Once

// createRoles makes the roles, once a process. Processes that run at the same time
// take turns, as two that change one role fail.
func createRoles(t testing.TB, server string) {
	t.Helper()
	roles.Do(func() {
		u, err := url.Parse(server)
		if err != nil {
			t.Fatalf("QUADRILLE_TEST_POSTGRES: %v", err)
		}
		secret := password(u)
		exec(t, server, `
			do $$ begin
				perform pg_advisory_xact_lock(hashtext('quad test roles'));
				if not exists (select from pg_roles where rolname = '`+ownerRole+`') then create role `+ownerRole+`; end if;
				if not exists (select from pg_roles where rolname = '`+RuntimeRole+`') then create role `+RuntimeRole+`; end if;
				if not exists (select from pg_roles where rolname = '`+auditorRole+`') then create role `+auditorRole+`; end if;
				alter role `+ownerRole+` login password '`+secret+`';
				alter role `+RuntimeRole+` login password '`+secret+`';
				alter role `+auditorRole+` login password '`+secret+`';
				`+strings.Join(audit.Rights(auditorRole), ";")+`;
			end $$`)
	})
}

// password is the same in all processes that test on a server, and known to nobody
// who does not know the superuser's.
func password(server *url.URL) string {
	secret, _ := server.User.Password()
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("quad test roles"))
	return hex.EncodeToString(mac.Sum(nil))
}
