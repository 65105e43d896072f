-- +goose Up
create trigger stock_changed after update on stock
    referencing old table as former_stock new table as changed_stock
    for each statement execute function mark_changed_stock();

create trigger stock_added after insert on stock
    referencing new table as added_stock
    for each statement execute function mark_added_stock();

-- +goose Down
drop trigger stock_added on stock;
drop trigger stock_changed on stock;
