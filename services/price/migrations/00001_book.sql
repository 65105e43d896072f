-- +goose Up

-- The price book is what price lists, promotions, taxes, shipping and vouchers say. Each
-- change of it is a revision. Nothing in it is changed or removed: a row counts from the
-- revision since on, and before the revision until. So each quote can be computed again by
-- the book as it was.
create table book (
    one      boolean primary key default true check (one),
    revision bigint  not null
);
insert into book (revision) values (0);

create table revisions (
    id      bigint      primary key,
    made_at timestamptz not null,
    what    text        not null
);

create table documents (
    kind  text   not null check (kind in ('list', 'promotion', 'tax', 'shipping', 'voucher')),
    name  text   not null,
    since bigint not null,
    until bigint check (until > since),
    body  jsonb  not null,
    primary key (kind, name, since)
);
create unique index documents_present on documents (kind, name) where until is null;

create table prices (
    sku          text   not null,
    list         text   not null,
    min_quantity bigint not null check (min_quantity >= 1),
    since        bigint not null,
    until        bigint check (until > since),
    amount       bigint not null check (amount between 0 and 1000000000),
    primary key (sku, list, min_quantity, since)
);
create unique index prices_present on prices (sku, list, min_quantity) where until is null;
create index prices_of_list on prices (list, sku) where until is null;

-- When lists become valid, or cease to be so.
create table switches (
    id   bigint      generated always as identity primary key,
    list text        not null,
    at   timestamptz not null
);
create index switches_due on switches (at);

-- What is published of each SKU, for views in other services, and the SKUs of which it may
-- have changed since. Package snapshot has both.
create table public_prices (
    key     text    primary key,
    version bigint  not null,
    deleted boolean not null,
    value   jsonb
);
create table public_prices_changes (
    id  bigint generated always as identity primary key,
    key text   not null
);

-- +goose Down
drop table public_prices_changes, public_prices, switches, prices, documents, revisions, book;
