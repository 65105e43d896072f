-- +goose Up

create table categories (
    id      text   primary key,
    name    text   not null,
    parent  text   references categories,
    version bigint not null
);

-- What is sold. See product.go for the states.
create table products (
    id           text        primary key,
    state        text        not null check (state in ('draft', 'published', 'retired')),
    title        text        not null,
    description  text        not null,
    categories   jsonb       not null,
    attributes   jsonb       not null,
    variants     jsonb       not null,
    media        jsonb       not null,
    published_at timestamptz,
    retired_at   timestamptz,
    version      bigint      not null,
    constraint published_once check (state = 'draft' or published_at is not null)
);

-- Which products a category has.
create index products_categories on products using gin (categories);

-- A SKU belongs to one product.
create table product_skus (
    sku        text primary key,
    product_id text not null references products deferrable initially deferred
);
create index product_skus_products on product_skus (product_id);

-- +goose Down
drop table product_skus, products, categories;
