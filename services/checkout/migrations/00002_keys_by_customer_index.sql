-- +goose NO TRANSACTION
-- +goose Up

-- Built beside the old index, without locking the table; 00003 takes it into use.
create unique index concurrently if not exists checkouts_once_by_customer on checkouts (customer_id, idempotency_key);

-- +goose Down
drop index concurrently if exists checkouts_once_by_customer;
