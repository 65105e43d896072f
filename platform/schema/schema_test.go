package schema_test

import (
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtest"
	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func migration(name, sql string) fs.FS {
	return fstest.MapFS{"migrations/" + name: {Data: []byte("-- +goose Up\n" + sql + "\n")}}
}

func open(t *testing.T, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgtx.Open(t.Context(), url, pgtx.Options{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// Replicas that start together migrate once between them, and starting again
// changes nothing.
func TestReplicasMigrateOnce(t *testing.T) {
	url := pgtest.URL(t)
	own := migration("00001_stock.sql", "create table stock (sku text primary key); insert into stock values ('a');")
	var replicas sync.WaitGroup
	for range 3 {
		pool := open(t, url)
		replicas.Go(func() {
			if err := schema.Up(t.Context(), pool, own); err != nil {
				t.Error(err)
			}
		})
	}
	replicas.Wait()
	pool := open(t, url)
	if err := schema.Up(t.Context(), pool, own); err != nil {
		t.Error(err)
	}
	for _, table := range []string{"outbox", "inbox", "parked", "stock"} {
		want := 0
		if table == "stock" {
			want = 1
		}
		var rows int
		if err := pool.QueryRow(t.Context(), `select count(*) from `+table).Scan(&rows); err != nil || rows != want {
			t.Errorf("table %s has %d rows, %v, want %d", table, rows, err, want)
		}
	}
}

func TestABrokenMigrationIsNamedAndLeavesNothing(t *testing.T) {
	pool := open(t, pgtest.URL(t))
	err := schema.Up(t.Context(), pool, migration("00001_broken.sql", "create table half (); create tabel typo ();"))
	if err == nil || !strings.Contains(err.Error(), "migrate service tables") || !strings.Contains(err.Error(), "version:1") {
		t.Errorf("Up = %v", err)
	}
	if _, err := pool.Exec(t.Context(), `select from half`); err == nil {
		t.Error("half of the migration stays")
	}
	if err := schema.Up(t.Context(), pool, migration("00001_mended.sql", "create table half ();")); err != nil {
		t.Errorf("once mended: %v", err)
	}
}
