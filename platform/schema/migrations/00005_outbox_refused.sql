-- +goose Up

-- Rows that the broker did not take are set aside: recovery walks the others by
-- (xid, id), and must not pass these each time.
-- refused is 0 for all others, 1 where the broker refused the topic, and more where
-- it refused this event while it took others of its topic.
alter table outbox add column refused smallint not null default 0;
create index outbox_refused on outbox (topic, leased_until) where refused > 0;

-- +goose Down
drop index outbox_refused;
alter table outbox drop column refused;
