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

-- published_level is what is published of what orders may have in a warehouse: exact
-- below 100, rounded down to two digits above. inventory.PublishedLevel is the same in Go.
-- +goose StatementBegin
create function published_level(available bigint) returns bigint language sql immutable as $$
    select available - available % (10 ^ greatest(length(available::text) - 2, 0))::bigint
$$;

-- One call a statement, whoever changes stock: services of a release before as well. What
-- orders may have is all that is published, so shipping what was held marks nothing.
create function mark_changed_stock() returns trigger language plpgsql as $$
begin
    insert into stock_levels_changes (key)
    select distinct sku from (
        select sku, warehouse, published_level(on_hand - held) from changed_stock
        except
        select sku, warehouse, published_level(on_hand - held) from former_stock) c;
    return null;
end $$;

create function mark_added_stock() returns trigger language plpgsql as $$
begin
    insert into stock_levels_changes (key) select distinct sku from added_stock;
    return null;
end $$;
-- +goose StatementEnd

-- +goose Down
drop function mark_added_stock, mark_changed_stock, published_level;
drop table stock_levels_changes, stock_levels;
