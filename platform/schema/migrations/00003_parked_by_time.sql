-- +goose Up

-- Parked events are listed oldest first, a page at a time: a bad release may park
-- every event that there is.
create index parked_by_time on parked (parked_at, event_id);

-- +goose Down
drop index parked_by_time;
