-- +goose Up
create extension if not exists pg_trgm;

-- What the search index has yet to hear of, written with the change that caused it.
create table search_changes (
    id            bigint      generated always as identity primary key,
    product_id    text        not null,
    changed_at    timestamptz not null default clock_timestamp(),
    attempts      int         not null default 0,
    claimed_until timestamptz not null default '-infinity'
);

-- The version of what was last composed of a product for the index.
create table search_versions (
    product_id text   primary key,
    version    bigint not null
) with (fillfactor = 70);

-- The indexes that there are, of which one is searched.
create table search_indexes (
    name          text        primary key,
    engine        text        not null,
    status        text        not null check (status in ('new', 'building', 'live', 'retiring')),
    -- The products up to this one are in an index that is being built.
    filled_to     text        not null default '',
    claimed_until timestamptz not null default '-infinity',
    -- The highest that the index has confirmed.
    checkpoint    bigint      not null default 0,
    -- It missed something, so that another must be built.
    stale         boolean     not null default false,
    retired_at    timestamptz,
    created_at    timestamptz not null default now()
);
create index search_indexes_engines on search_indexes (engine);
create unique index search_indexes_one_live on search_indexes (engine) where status = 'live';
create unique index search_indexes_one_new on search_indexes (engine) where status in ('new', 'building');

create sequence search_checkpoints;

-- The two tables of the engine postgres: one is searched while the other is built.
create table search_documents_a (
    product_id   text        primary key,
    version      bigint      not null,
    deleted      boolean     not null,
    revision     bigint      not null,
    words        tsvector    not null,
    facets       text[]      not null,
    title        text        collate "C" not null,
    weight       int         not null,
    price        bigint,
    in_stock     boolean     not null,
    published_at timestamptz
) with (fillfactor = 80);
create table search_documents_b (like search_documents_a including all) with (fillfactor = 80);

create index search_documents_a_words on search_documents_a using gin (words) with (fastupdate = off) where not deleted;
create index search_documents_a_newest on search_documents_a (published_at, product_id) where not deleted;
create index search_documents_a_titles on search_documents_a (title, product_id) where not deleted;
create index search_documents_a_cheap on search_documents_a (coalesce(price, 9223372036854775807), product_id) where not deleted;
create index search_documents_a_dear on search_documents_a (coalesce(price, -1), product_id) where not deleted;
create index search_documents_b_words on search_documents_b using gin (words) with (fastupdate = off) where not deleted;
create index search_documents_b_newest on search_documents_b (published_at, product_id) where not deleted;
create index search_documents_b_titles on search_documents_b (title, product_id) where not deleted;
create index search_documents_b_cheap on search_documents_b (coalesce(price, 9223372036854775807), product_id) where not deleted;
create index search_documents_b_dear on search_documents_b (coalesce(price, -1), product_id) where not deleted;

-- All words that documents have, or had: nothing is taken out, so that a word keeps its number
-- and the pages of one search find the same.
create table search_words (
    id   bigint generated always as identity primary key,
    word text collate "C" not null unique
);
create index search_words_parts on search_words using gin (word gin_trgm_ops) with (fastupdate = off);

-- similar_words are those that look like a term, the most similar first. The threshold is a
-- setting of the session otherwise.
-- +goose StatementBegin
create function similar_words(term text, newest bigint, most int) returns setof text
language sql stable set pg_trgm.similarity_threshold = 0.2 as $$
    select word from search_words where word % term and id <= newest and abs(length(word) - length(term)) <= 2
    order by similarity(word, term) desc, word limit most
$$;

-- One call a statement, whoever changes the tables.
create function mark_products() returns trigger language plpgsql as $$
begin
    insert into search_changes (product_id) select id from changed;
    return null;
end $$;

create function mark_category() returns trigger language plpgsql as $$
begin
    insert into search_changes (product_id)
    with recursive below as (
        select id from changed
        union
        select c.id from categories c join below b on c.parent = b.id)
    select p.id from products p where p.categories ?| array(select id from below);
    return null;
end $$;

create function mark_new_view() returns trigger language plpgsql as $$
begin
    insert into search_changes (product_id)
    select distinct s.product_id from changed c join product_skus s on s.sku = c.key;
    return null;
end $$;

-- A state that is newer and the same, as of a SKU that sells and stays in stock, changes nothing here.
create function mark_changed_view() returns trigger language plpgsql as $$
begin
    insert into search_changes (product_id)
    select distinct s.product_id
    from (select key, deleted, value from changed except select key, deleted, value from former) c
    join product_skus s on s.sku = c.key;
    return null;
end $$;
-- +goose StatementEnd

create trigger products_added after insert on products referencing new table as changed
    for each statement execute function mark_products();
create trigger products_changed after update on products referencing new table as changed
    for each statement execute function mark_products();
create trigger categories_changed after update on categories referencing new table as changed
    for each statement execute function mark_category();
create trigger stock_added after insert on stock_view referencing new table as changed
    for each statement execute function mark_new_view();
create trigger stock_changed after update on stock_view referencing old table as former new table as changed
    for each statement execute function mark_changed_view();
create trigger price_added after insert on price_view referencing new table as changed
    for each statement execute function mark_new_view();
create trigger price_changed after update on price_view referencing old table as former new table as changed
    for each statement execute function mark_changed_view();

-- +goose Down
drop trigger price_changed on price_view;
drop trigger price_added on price_view;
drop trigger stock_changed on stock_view;
drop trigger stock_added on stock_view;
drop trigger categories_changed on categories;
drop trigger products_changed on products;
drop trigger products_added on products;
drop function mark_changed_view, mark_new_view, mark_category, mark_products, similar_words;
drop sequence search_checkpoints;
drop table search_words, search_documents_b, search_documents_a, search_indexes, search_versions, search_changes;
drop extension pg_trgm;
