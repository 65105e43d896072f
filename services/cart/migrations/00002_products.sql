-- +goose Up

-- What catalog says of products, the newest of each, as package snapshot has it. value has
-- the SKUs of those that are retired, and is empty for others: an older event that comes
-- late is then known for what it is.
create table products (
    key     text    primary key,
    version bigint  not null,
    deleted boolean not null,
    value   jsonb
) with (fillfactor = 70);

create index products_retired on products using gin ((value -> 'retired'));

-- +goose Down
drop table products;
