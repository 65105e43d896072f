-- +goose Up

-- How far the reader of a replication slot has the outbox, where one publishes instead
-- of the service (QUADRILLE_RELAY=debezium). One row, shared by the replicas; package
-- outbox says what it means.
create table outbox_slot (
    one       boolean     primary key default true check (one),
    -- Rows with a lower xid are the service's to publish, all others the slot's.
    boundary  bigint      not null,
    -- Which slot that is, as far as a slot can be told from its successor of the same name.
    -- Positions in the log are in bytes.
    system    bigint      not null,
    timeline  bigint      not null,
    started   timestamptz not null,
    reader    integer     not null,
    confirmed bigint      not null,
    -- Once the slot has confirmed all up to the mark, rows below the horizon are published.
    mark      bigint      not null,
    horizon   bigint      not null,
    -- Rows from the boundary up to here are published, and may be deleted.
    published bigint      not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- What the slot's reader gets: new rows, and neither leases nor removals.
-- +goose StatementBegin
do $$ begin
    set local client_min_messages = error; -- that wal_level is not logical concerns only who wants it
    create publication outbox for table outbox with (publish = 'insert');
end $$;
-- +goose StatementEnd

-- +goose Down
drop publication outbox;
drop table outbox_slot;
