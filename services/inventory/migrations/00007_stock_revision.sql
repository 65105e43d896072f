-- +goose Up

-- Counts the changes of what lies in a warehouse or is held there: of a SKU the sum over the
-- warehouses tells a newer level from an older one.
alter table stock add column revision bigint not null default 0;

-- +goose Down
alter table stock drop column revision;
