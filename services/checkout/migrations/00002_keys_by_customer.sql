-- +goose NO TRANSACTION
-- +goose Up

-- An idempotency key is its customer's own: two customers may use the same. The index
-- is built beside the old one, without locking the table; left over from an attempt
-- that broke off it would be invalid, so it is built afresh.
drop index if exists checkouts_once_by_customer;
create unique index concurrently checkouts_once_by_customer on checkouts (customer_id, idempotency_key);
alter table checkouts
    drop constraint checkouts_once,
    add constraint checkouts_once unique using index checkouts_once_by_customer;

-- +goose Down
drop index if exists checkouts_once_for_all;
create unique index concurrently checkouts_once_for_all on checkouts (idempotency_key);
alter table checkouts
    drop constraint checkouts_once,
    add constraint checkouts_once unique using index checkouts_once_for_all;
