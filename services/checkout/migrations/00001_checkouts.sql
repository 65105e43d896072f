-- +goose Up

-- One row a checkout, which is also the order's first record: they share the id.
-- The idempotency key is unique, so that a request repeated through any replica
-- places one order.
create table checkouts (
    id              uuid   primary key,
    idempotency_key text   not null,
    request_hash    bytea  not null,
    customer_id     text   not null,
    lines           jsonb  not null,
    amount          bigint not null,
    currency        text   not null,
    traceparent     text   not null,
    status          text   not null check (status in ('placed', 'confirmed', 'cancelled')),
    reason          jsonb,
    placed_at       timestamptz not null,
    settled_at      timestamptz,
    version         bigint not null,
    constraint checkouts_once unique (idempotency_key)
) with (fillfactor = 70);

-- +goose Down
drop table checkouts;
