-- +goose NO TRANSACTION
-- +goose Up

-- The line makes a key unique for its whole adjustment, whichever warehouses that is
-- about.
create unique index concurrently if not exists stock_movements_once on stock_movements (sku, adjustment_key, adjustment_line)
    where adjustment_key is not null;

-- +goose Down
drop index concurrently if exists stock_movements_once;
