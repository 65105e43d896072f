-- +goose Up

-- The lowest code that still works with this schema, by the highest migration that
-- the code holds. A migration that contracts (drops or renames what older code uses)
-- raises it, so that older code refuses to start instead of failing at its first
-- statement.
create table schema_floor (
    part    text   primary key check (part in ('kit', 'service')),
    version bigint not null,
    reason  text   not null
);

-- +goose StatementBegin
create function raise_schema_floor(text, bigint, text) returns void language sql as $$
    insert into schema_floor (part, version, reason) values ($1, $2, $3)
    on conflict (part) do update set version = excluded.version, reason = excluded.reason
    where excluded.version > schema_floor.version
$$;
-- +goose StatementEnd

-- Up to which migrations a role has its privileges: code that is newer waits for them.
create table schema_grants (
    role       text        primary key,
    kit        bigint      not null,
    service    bigint      not null,
    granted_at timestamptz not null default now()
);

-- +goose Down
drop function raise_schema_floor;
drop table schema_grants, schema_floor;
