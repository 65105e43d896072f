-- +goose NO TRANSACTION
-- +goose Up

-- An account's sessions that were not ended, which are few. sessions_by_account has all that it had for as long as
-- they would have lasted.
create index concurrently if not exists sessions_not_ended on sessions (account_id) where revoked_at is null;

-- +goose Down
drop index concurrently if exists sessions_not_ended;
