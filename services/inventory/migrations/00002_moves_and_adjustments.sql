-- +goose Up

-- moves counts the changes of on_hand, so that a count of what lies there can say
-- which state it was made of.
alter table stock add column moves bigint not null default 0;

-- Why stock changed, and for an adjustment its idempotency key and the number of this
-- movement within it.
alter table stock_movements
    add column reason text not null default 'count',
    add column adjustment_key text,
    add column adjustment_line integer;

-- +goose Down
alter table stock_movements drop column reason, drop column adjustment_key, drop column adjustment_line;
alter table stock drop column moves;
