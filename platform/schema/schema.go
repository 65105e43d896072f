// Package schema brings a service's database up to date: the kit's own tables
// first, then the service's.
package schema

import (
	"context"
	"embed"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"
)

//go:embed migrations/*.sql
var kit embed.FS

// Up applies what is missing of the kit's migrations and of own, which holds a
// folder "migrations". Replicas that start together wait for one another.
func Up(ctx context.Context, pool *pgxpool.Pool, own fs.FS) error {
	if err := apply(ctx, pool, "kit_migrations", kit); err != nil {
		return fmt.Errorf("migrate kit tables: %w", err)
	}
	if err := apply(ctx, pool, "service_migrations", own); err != nil {
		return fmt.Errorf("migrate service tables: %w", err)
	}
	return nil
}

func apply(ctx context.Context, pool *pgxpool.Pool, table string, files fs.FS) error {
	dir, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close() //nolint:errcheck // the pool is the caller's and stays open
	store, err := database.NewStore(goose.DialectPostgres, table)
	if err != nil {
		return err
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return err
	}
	provider, err := goose.NewProvider("", db, dir,
		goose.WithStore(store), goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}
