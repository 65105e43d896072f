-- +goose Up

-- A customer has one cart, which lasts. A guest's cart is known by a token, of which only
-- the hash is here, and is deleted once nobody has changed it for long.
create table carts (
    id           uuid        primary key,
    customer_id  text,
    token_hash   text,
    lines        jsonb       not null,
    created_at   timestamptz not null,
    changed_at   timestamptz not null,
    abandoned_at timestamptz,
    version      bigint      not null,
    constraint of_customer_or_guest check ((customer_id is null) <> (token_hash is null))
) with (fillfactor = 70);

create unique index carts_of_customers on carts (customer_id) where customer_id is not null;

-- Those that may be abandoned, and those that may be deleted.
create index carts_left on carts (changed_at) where abandoned_at is null and lines <> '[]';
create index carts_of_guests on carts (changed_at) where customer_id is null;

-- Orders that were made of carts. An order's end may be heard before its beginning: then
-- cart_id is null. See cart.go for the rules.
create table cart_orders (
    id       uuid        primary key,
    cart_id  uuid,
    lines    jsonb       not null,
    verdict  text        not null check (verdict in ('', 'confirmed', 'cancelled')),
    heard_at timestamptz not null,
    version  bigint      not null
) with (fillfactor = 70);

create index cart_orders_open on cart_orders (cart_id) where verdict = '';
create index cart_orders_settled on cart_orders (heard_at) where verdict <> '';

-- +goose Down
drop table cart_orders, carts;
