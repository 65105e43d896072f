-- +goose Up

-- What lies in each warehouse, and how much of it orders hold. The constraint is
-- what makes overselling impossible, whatever the code does.
create table stock (
    sku       text   not null check (sku <> ''),
    warehouse text   not null check (warehouse <> ''),
    on_hand   bigint not null,
    held      bigint not null default 0,
    primary key (sku, warehouse),
    constraint never_oversold check (held >= 0 and held <= on_hand)
) with (fillfactor = 50);

-- Every change of stock that no order caused, for the books: on_hand is always
-- the sum of these less what was shipped.
create table stock_movements (
    id        bigint generated always as identity primary key,
    sku       text        not null,
    warehouse text        not null,
    delta     bigint      not null,
    moved_at  timestamptz not null default now()
);

-- One row an order; see reservation.go for the states.
create table reservations (
    id            uuid   primary key,
    status        text   not null check (status in ('unknown', 'held', 'shipped', 'released', 'refused')),
    verdict       text   not null check (verdict in ('', 'ship', 'release')),
    allocations   jsonb,
    traceparent   text   not null,
    reserved_at   timestamptz,
    expires_at    timestamptz,
    expired_at    timestamptz,
    ended_at      timestamptz,
    version       bigint not null
) with (fillfactor = 70);

-- Those that may expire.
create index reservations_expiring on reservations (expires_at) where status = 'held' and expired_at is null;

-- +goose Down
drop table reservations, stock_movements, stock;
