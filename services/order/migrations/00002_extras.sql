-- +goose Up

-- What an order costs beside its lines: null and 0 where its caller named the prices.
alter table orders
    add column adjustments jsonb,
    add column shipping bigint not null default 0,
    add column tax bigint not null default 0;

-- +goose Down
alter table orders
    drop column tax,
    drop column shipping,
    drop column adjustments;
