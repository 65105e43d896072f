package search_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"quadrille.internal/platform/pgtx"
	"quadrille.internal/platform/servicetest"
	"quadrille.internal/services/catalog"
	"quadrille.internal/services/catalog/search"
	"quadrille.internal/services/catalog/search/searchtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPostgres(t *testing.T) {
	searchtest.Run(t, func(t *testing.T) searchtest.Fixture {
		kit := servicetest.NewKit(t, catalog.Service())
		return searchtest.Fixture{
			Engine: search.NewPostgres(kit.Pool), Refresh: func(*testing.T) {},
			Live: func(t *testing.T, index string) {
				t.Helper()
				servicetest.Exec(t, kit.Pool, `insert into search_indexes (name, engine, status) values ($1, 'postgres', 'building')`, index)
				err := pgtx.Run(t.Context(), kit.Pool, func(ctx context.Context, tx pgx.Tx) error {
					_, retire := tx.Exec(ctx, `update search_indexes set status = 'retiring' where status = 'live'`)
					_, live := tx.Exec(ctx, `update search_indexes set status = 'live' where name = $1`, index)
					return errors.Join(retire, live)
				})
				if err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}
