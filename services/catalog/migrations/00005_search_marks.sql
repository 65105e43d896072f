-- +goose Up

-- A product that another transaction is just writing is not seen. Stock of its SKU that was written
-- at that time was noted for no product, and came to the index only with the next change. So who looks for
-- products waits for who writes them, or is waited for: then the product is seen, or it is read
-- for the index after the stock was committed. The lock comes first and looking second, which
-- sees all that was committed before the lock was got.
-- +goose StatementBegin
create or replace function mark_products() returns trigger language plpgsql as $$
begin
    lock table search_lock in row exclusive mode;
    insert into search_changes (product_id) select id from changed;
    return null;
end $$;

create or replace function mark_category() returns trigger language plpgsql as $$
begin
    lock table search_lock in share mode;
    insert into search_changes (product_id)
    with recursive below as (
        select id from changed
        union
        select c.id from categories c join below b on c.parent = b.id)
    select p.id from products p where p.categories ?| array(select id from below);
    return null;
end $$;

create or replace function mark_new_view() returns trigger language plpgsql as $$
declare
    skus text[] := array(select key from changed);
begin
    if skus = '{}' then
        return null;
    end if;
    lock table search_lock in share mode;
    insert into search_changes (product_id) select distinct product_id from product_skus where sku = any(skus);
    return null;
end $$;

-- A state that is newer and the same, as of a SKU that sells and stays in stock, changes nothing
-- here, and waits for nobody.
create or replace function mark_changed_view() returns trigger language plpgsql as $$
declare
    skus text[] := array(
        select key from (select key, deleted, value from changed except select key, deleted, value from former) c);
begin
    if skus = '{}' then
        return null;
    end if;
    lock table search_lock in share mode;
    insert into search_changes (product_id) select distinct product_id from product_skus where sku = any(skus);
    return null;
end $$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
create or replace function mark_products() returns trigger language plpgsql as $$
begin
    insert into search_changes (product_id) select id from changed;
    return null;
end $$;

create or replace function mark_category() returns trigger language plpgsql as $$
begin
    insert into search_changes (product_id)
    with recursive below as (
        select id from changed
        union
        select c.id from categories c join below b on c.parent = b.id)
    select p.id from products p where p.categories ?| array(select id from below);
    return null;
end $$;

create or replace function mark_new_view() returns trigger language plpgsql as $$
begin
    insert into search_changes (product_id)
    select distinct s.product_id from changed c join product_skus s on s.sku = c.key;
    return null;
end $$;

create or replace function mark_changed_view() returns trigger language plpgsql as $$
begin
    insert into search_changes (product_id)
    select distinct s.product_id
    from (select key, deleted, value from changed except select key, deleted, value from former) c
    join product_skus s on s.sku = c.key;
    return null;
end $$;
-- +goose StatementEnd
