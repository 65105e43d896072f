package identity

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"quadrille.internal/platform/fault"
	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/servicetest"
)

// A storm of logins takes the memory of a few, and tells those that cannot wait to come back.
func TestALoginStormHasBoundedMemory(t *testing.T) {
	const eachMiB, budgetMiB, storm = 8, 16, 3 * maxHashing
	h := newHasher(cost{memory: eachMiB << 10, passes: 1, lanes: 1}, budgetMiB)
	hash, err := h.hash(t.Context(), pass)
	if err != nil {
		t.Fatal(err)
	}
	var peak uint64
	stop := servicetest.Run(t, sampled(&peak))
	var right, refused atomic.Int64
	var all sync.WaitGroup
	for range storm {
		all.Go(func() {
			ok, _, err := h.check(t.Context(), hash, pass)
			switch {
			case ok:
				right.Add(1)
			case err != nil && fault.Of(err).Kind == fault.Unavailable:
				refused.Add(1)
			default:
				t.Errorf("right %v, error %v", ok, err)
			}
		})
	}
	all.Wait()
	stop()
	if right.Load() == 0 || refused.Load() == 0 {
		t.Errorf("%d were right and %d refused; want some of both", right.Load(), refused.Load())
	}
	// What the collector has not freed yet comes on top of the budget; all at once would take
	// maxHashing*eachMiB.
	if limit := uint64(maxHashing*eachMiB/2) << 20; peak > limit {
		t.Errorf("the heap grew to %d MiB, want less than %d", peak>>20, limit>>20)
	}
}

// sampled notes the largest heap.
func sampled(peak *uint64) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			*peak = max(*peak, m.HeapAlloc)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// A hash of a former cost is replaced when its owner signs in, and not before.
func TestPasswordsAreRehashedOnLogin(t *testing.T) {
	s := newShop(t)
	s.server.hasher = newHasher(cost{memory: 32, passes: 1, lanes: 1}, 1)
	s.signIn(address)
	s.server.hasher = newHasher(cheap, 1)
	stored := func() (hash string) {
		if err := s.kit.Pool.QueryRow(t.Context(), `select password from accounts`).Scan(&hash); err != nil {
			t.Fatal(err)
		}
		return hash
	}
	if a := s.login(address, "wrong horse"); a.Status != http.StatusUnauthorized || !strings.Contains(stored(), "m=32,") {
		t.Errorf("a wrong password: %d, %s", a.Status, stored())
	}
	for range 2 {
		s.signInAgain(address, pass)
		if !strings.Contains(stored(), "m=64,") {
			t.Errorf("the hash is %s", stored())
		}
	}
}

// Two devices that sign in at the same moment find the same old hash, and both renew it. The
// second is not told that its password is wrong.
func TestTwoDevicesRenewOneHash(t *testing.T) {
	s := newShop(t)
	s.server.hasher = newHasher(cost{memory: 32, passes: 1, lanes: 1}, 1)
	account := *s.signIn(address).AccountID
	s.server.hasher = newHasher(cheap, 1)
	var devices sync.WaitGroup
	err := pgtx.Run(t.Context(), s.kit.Pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockAccount(ctx, tx, account); err != nil {
			return err
		}
		for range 2 {
			devices.Go(func() {
				if a := s.login(address, pass); a.Status != http.StatusCreated {
					t.Errorf("sign in: %d %s", a.Status, a.Body)
				}
			})
		}
		servicetest.Await(t, "both wait to renew the hash", func() bool {
			return s.count(`select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like 'update accounts set password%'`) == 2
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	devices.Wait()
}

// Who has the right password is let in, also where the new hash cannot be had now.
func TestSigningInDoesNotNeedTheNewHash(t *testing.T) {
	s := newShop(t)
	s.server.hasher = newHasher(cost{memory: 32, passes: 1, lanes: 1}, 1)
	account := *s.signIn(address).AccountID
	s.server.hasher = newHasher(cheap, 1)
	admin := pgtest.Admin(t, s.kit.Pool)
	err := pgtx.Run(t.Context(), s.kit.Pool, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := lockAccount(ctx, tx, account); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() { // the caller goes away while the lock is awaited
			defer close(watched)
			for waits := false; ctx.Err() == nil && !waits; {
				if admin.QueryRow(ctx, `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`).Scan(&waits) != nil {
					return
				}
			}
			cancel()
		}()
		_, err := s.server.checkLogin(ctx, address, pass)
		cancel()
		<-watched
		return err
	})
	if err != nil {
		t.Errorf("with the right password: %v", err)
	}
}

// Neither words nor work tell whether an address has an account.
func TestNobodyLearnsWhoHasAnAccount(t *testing.T) {
	s := newShop(t)
	s.signIn(address)
	// Ben signs in elsewhere, and has no password.
	sec, err := s.server.vault.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ben := Account{ID: uuid.New(), Roles: roles{Scopes: []string{}}, CreatedAt: time.Now()}
	if _, err := addAccount(t.Context(), s.kit.Pool, ben, sec.login("ben@example.com")); err != nil {
		t.Fatal(err)
	}
	type seen struct {
		status       int
		body, header string
		work         int64
	}
	ask := func(way func() servicetest.Answer) seen {
		before := s.server.hasher.runs.Load()
		a := way()
		a.Header.Del("Date")
		return seen{a.Status, a.Body, fmt.Sprint(a.Header), s.server.hasher.runs.Load() - before}
	}
	hashes := map[string]int64{"sign in": 1}
	for what, ways := range map[string][]func() servicetest.Answer{
		"sign in": {
			func() servicetest.Answer { return s.login("nobody@example.com", "wrong horse") },
			func() servicetest.Answer { return s.login(address, "wrong horse") },
			func() servicetest.Answer { return s.login("ben@example.com", "wrong horse") },
		},
		"register": {
			func() servicetest.Answer { return s.register("new@example.com") },
			func() servicetest.Answer { return s.register(address) },
		},
	} {
		first := ask(ways[0])
		for i, way := range ways[1:] {
			if got := ask(way); got != first || got.work != hashes[what] {
				t.Errorf("%s, way %d: %+v, want %+v and %d hashes", what, i, got, first, hashes[what])
			}
		}
	}
	s.signInAgain(address, pass) // registering again changed nothing
}

func TestStoredHashesThatAreNone(t *testing.T) {
	h := newHasher(cheap, 1)
	for _, hash := range []string{
		"plain", "$2a$10$abcdefghijklmnopqrstuv", "$argon2id$v=19$m=64,t=1$c2FsdA$c3Vt", "$argon2id$v=18$m=64,t=1,p=1$c2FsdA$" + strings.Repeat("A", 43),
		"$argon2id$v=19$m=999999999,t=1,p=1$c2FsdA$" + strings.Repeat("A", 43), "$argon2id$v=19$m=64,t=1,p=1$c2FsdA$c3Vt",
	} {
		if right, _, err := h.check(t.Context(), hash, pass); right || err == nil {
			t.Errorf("%s: %v, %v", hash, right, err)
		}
	}
}
