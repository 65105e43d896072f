-- +goose Up

-- Who somebody is. What is personal is sealed by the customer's data key; see seal.go.
create table customers (
    id             text   primary key,
    profile        bytea  not null,
    groups         text[] not null default '{}',
    groups_version bigint not null default 0,
    created_at     timestamptz not null,
    changed_at     timestamptz not null
);

-- The data keys, each sealed by the master key. They are apart from
-- what they seal, so that backups of them can be apart, too, and be kept for less long.
create table data_keys (
    customer_id text  primary key,
    sealed      bytea not null
);
-- What seals them is named by how they begin.
create index data_keys_by_master_key on data_keys (substring(sealed for 4));

-- An address never changes under its id. One that was removed is kept for the orders that
-- were placed with it.
create table addresses (
    customer_id text  not null references customers,
    id          uuid  not null,
    sealed      bytea not null,
    added_at    timestamptz not null,
    removed_at  timestamptz,
    primary key (customer_id, id)
);

-- What customers consented to, and withdrew: each change is a row.
create table consents (
    customer_id text    not null references customers,
    purpose     text    not null,
    changed_at  timestamptz not null,
    granted     boolean not null,
    primary key (customer_id, purpose, changed_at)
);

-- Who asked to be erased, by the SHA-256 of the id. The id itself is kept until all have
-- answered. erased_at is when the customer's data and key were deleted here.
create table erasure_requests (
    digest       bytea primary key check (length(digest) = 32),
    customer_id  text,
    traceparent  text not null,
    requested_at timestamptz not null,
    deadline     timestamptz not null,
    told_at      timestamptz not null,
    alarmed_at   timestamptz,
    erased_at    timestamptz,
    ended_at     timestamptz,
    check ((customer_id is null) = (ended_at is not null)),
    check (ended_at is null or erased_at is not null)
);
create index erasure_requests_open on erasure_requests (requested_at, digest) where ended_at is null;

-- What each holder answered.
create table erasure_answers (
    digest        bytea  not null references erasure_requests,
    holder        text   not null,
    answered_at   timestamptz not null,
    deleted       bigint not null,
    pseudonymised bigint not null,
    kept          bigint not null,
    primary key (digest, holder)
);

-- +goose Down
drop table erasure_answers, erasure_requests, consents, addresses, data_keys, customers;
