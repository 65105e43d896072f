-- +goose Up

-- An idempotency key is its customer's own: two customers may use the same.
alter table checkouts
    drop constraint checkouts_once,
    add constraint checkouts_once unique using index checkouts_once_by_customer;

-- +goose Down
alter table checkouts
    drop constraint checkouts_once,
    add constraint checkouts_once unique (idempotency_key);
