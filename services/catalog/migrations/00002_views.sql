-- +goose Up

-- Copies of what other services own; package snapshot says how they are kept.
create table stock_view (
    key     text    primary key,
    version bigint  not null,
    deleted boolean not null,
    value   jsonb
) with (fillfactor = 70);
create table price_view (
    key     text    primary key,
    version bigint  not null,
    deleted boolean not null,
    value   jsonb
) with (fillfactor = 70);

-- +goose Down
drop table price_view, stock_view;
