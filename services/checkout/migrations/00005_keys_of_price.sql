-- +goose Up

-- The public keys that quotes are verified by, as price published them last: for a replica
-- that starts while price is away. One row.
create table price_keys (
    one        boolean     primary key default true check (one),
    jwks       text        not null,
    fetched_at timestamptz not null default now()
);

-- +goose Down
drop table price_keys;
