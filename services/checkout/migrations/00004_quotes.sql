-- +goose Up

-- What price committed to, and where the order goes. Null where the caller named the prices.
alter table checkouts
    add column quote jsonb,
    add column address_id uuid;

-- The ids of orders by quote, each once and for good: either the order was placed, or price
-- was told that it never will be. The primary key decides between the two.
create table quoted_orders (
    order_id uuid    primary key,
    placed   boolean not null
);

-- +goose Down
drop table quoted_orders;
alter table checkouts
    drop column address_id,
    drop column quote;
