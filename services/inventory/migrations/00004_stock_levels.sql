-- +goose Up

-- What is published of each SKU, for views in other services, and the SKUs of which it
-- may have changed since. Package snapshot has both.
create table stock_levels (
    key     text    primary key,
    version bigint  not null,
    deleted boolean not null,
    value   jsonb
) with (fillfactor = 50);

create table stock_levels_changes (
    id  bigint generated always as identity primary key,
    key text not null
);

-- One call a statement, whoever changes stock: services of a release before as well. What
-- orders may have is all that is published, so shipping what was held marks nothing.
-- +goose StatementBegin
create function mark_changed_stock() returns trigger language plpgsql as $$
begin
    insert into stock_levels_changes (key)
    select distinct sku from (
        select sku, warehouse, on_hand - held from changed_stock
        except
        select sku, warehouse, on_hand - held from former_stock) c;
    return null;
end $$;

create function mark_added_stock() returns trigger language plpgsql as $$
begin
    insert into stock_levels_changes (key) select distinct sku from added_stock;
    return null;
end $$;
-- +goose StatementEnd

-- +goose Down
drop function mark_added_stock, mark_changed_stock;
drop table stock_levels_changes, stock_levels;
