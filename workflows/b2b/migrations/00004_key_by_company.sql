-- +goose Up

-- An idempotency key is its company's own. This is apart from the index that it takes
-- over, so that the index can wait for as long as it must.
alter table orders
    drop constraint orders_once,
    add constraint orders_once unique using index orders_once_by_company;

-- +goose Down

-- Fails where two companies have used the same key.
alter table orders
    drop constraint orders_once,
    add constraint orders_once unique (idempotency_key);
