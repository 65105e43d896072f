-- +goose NO TRANSACTION
-- +goose Up

-- moves counts the changes of on_hand, so that a count of what lies there can say
-- which state it was made of.
alter table stock add column if not exists moves bigint not null default 0;

-- Why stock changed, and for an adjustment its idempotency key. The number of its
-- movement within it makes the key unique for the whole adjustment, whichever
-- warehouses it is about.
alter table stock_movements
    add column if not exists reason text not null default 'count',
    add column if not exists adjustment_key text,
    add column if not exists adjustment_line integer;
drop index if exists stock_movements_once; -- invalid, if an attempt at this broke off
create unique index concurrently stock_movements_once on stock_movements (sku, adjustment_key, adjustment_line)
    where adjustment_key is not null;

-- +goose Down
drop index if exists stock_movements_once;
alter table stock_movements
    drop column if exists reason, drop column if exists adjustment_key, drop column if exists adjustment_line;
alter table stock drop column if exists moves;
