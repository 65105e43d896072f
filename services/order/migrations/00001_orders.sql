-- +goose Up

-- One row an order: the facts heard of it, and what was decided upon them. Facts
-- may come in any order, so that all but the key may be missing at first.
create table orders (
    id                    uuid   primary key,
    status                text   not null check (status in ('pending', 'confirmed', 'cancelled')),
    reason                jsonb,
    customer_id           text,
    lines                 jsonb,
    amount                bigint not null,
    currency              text   not null,
    traceparent           text   not null,
    placed_at             timestamptz,
    reserved_at           timestamptz,
    reservation_failed_at timestamptz,
    expired_at            timestamptz,
    released_at           timestamptz,
    paid_at               timestamptz,
    payment_failed_at     timestamptz,
    refunded_at           timestamptz,
    cancel_asked_at       timestamptz,
    settled_at            timestamptz,
    version               bigint not null,
    check (status <> 'confirmed' or (reserved_at is not null and paid_at is not null)),
    check (status <> 'cancelled' or reason is not null),
    check ((status = 'pending') = (settled_at is null))
) with (fillfactor = 60);

create index orders_by_customer on orders (customer_id, id);

-- +goose Down
drop table orders;
