-- +goose Up

-- Who may sign in. There is no personal data: login is a keyed hash of the e-mail address.
create table accounts (
    id              uuid        primary key,
    login           bytea       unique,
    password        text,
    password_set_at timestamptz,
    groups          text[]      not null,
    scopes          text[]      not null,
    company         text,
    created_at      timestamptz not null
);

-- A session is a chain of refresh tokens. Only the hash of the last one is kept; the times
-- of the latest exchanges are, oldest first, for repetitions.
create table sessions (
    id          uuid          primary key,
    account_id  uuid          not null references accounts on delete cascade,
    token_hash  bytea         not null,
    generation  integer       not null check (generation >= 0),
    exchanges   timestamptz[] not null,
    created_at  timestamptz   not null,
    used_at     timestamptz   not null,
    expires_at  timestamptz   not null,
    revoked_at  timestamptz,
    revoked_for text,
    check ((revoked_at is null) = (revoked_for is null))
) with (fillfactor = 60);

create index sessions_by_account on sessions (account_id, created_at);
create index sessions_by_expiry on sessions (expires_at);

-- Machine clients.
create table clients (
    id          uuid        primary key,
    name        text        not null,
    secret_hash bytea       not null,
    groups      text[]      not null,
    scopes      text[]      not null,
    company     text,
    created_at  timestamptz not null
);

-- The keys that sign access tokens, their private parts sealed.
create table signing_keys (
    id         text        primary key,
    state      text        not null check (state in ('next', 'current', 'retiring')),
    sealed     bytea       not null,
    created_at timestamptz not null,
    moved_at   timestamptz not null
);

create unique index signing_keys_one_of on signing_keys (state) where state in ('next', 'current');
create index signing_keys_by_time on signing_keys (created_at, id);

-- What other secrets are made of, sealed.
create table secrets (
    name   text  primary key,
    sealed bytea not null
);

-- How often something was tried since a time, by a keyed hash of who or where.
create table attempts (
    key   bytea       primary key,
    count integer     not null,
    since timestamptz not null
) with (fillfactor = 60);

create index attempts_by_time on attempts (since);

-- +goose Down
drop table attempts;
drop table secrets;
drop table signing_keys;
drop table clients;
drop table sessions;
drop table accounts;
