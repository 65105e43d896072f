-- +goose Up

-- Keys that sign quotes, one after the other. A key is published before it signs, and its
-- signatures are taken until good_until.
create table signing_keys (
    generation  bigint      primary key,
    id          text        not null unique,
    sealed      bytea       not null,
    signs_from  timestamptz not null,
    signs_until timestamptz not null check (signs_until > signs_from),
    good_until  timestamptz not null check (good_until > signs_until)
);

-- +goose Down
drop table signing_keys;
