-- +goose Up

-- What lay there before there were marks. In a migration of its own, so that nobody
-- waits for a lock of the triggers meanwhile.
insert into stock_levels_changes (key) select distinct sku from stock;

-- +goose Down
select 1;
