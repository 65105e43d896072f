-- +goose Up

-- Events committed with the change that caused them, until the broker has them.
-- (xid, id) is the order of recovery; rows live for milliseconds as a rule, so
-- vacuum is set to keep up with the churn rather than with the table's size.
create table outbox (
    xid          bigint      not null default (pg_current_xact_id()::text::bigint),
    id           uuid        not null,
    topic        text        not null,
    key          text        not null,
    payload      bytea       not null,
    leased_until timestamptz not null,
    primary key (xid, id)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000,
        autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_threshold = 1000000);

-- Events already handled, by consumer. Event ids are UUIDs of version 7, so the
-- primary key also finds the old ones to prune.
create table inbox (
    event_id   uuid        not null,
    consumer   text        not null,
    handled_at timestamptz not null default now(),
    primary key (event_id, consumer)
);

-- Events that could not be handled: kept whole, to be looked at and replayed.
create table parked (
    consumer    text        not null,
    event_id    uuid        not null,
    topic       text        not null,
    cause       text        not null,
    attempts    integer     not null,
    traceparent text        not null,
    payload     bytea       not null,
    parked_at   timestamptz not null default now(),
    tried_at    timestamptz not null default now(),
    primary key (consumer, event_id)
);

-- +goose Down
drop table parked, inbox, outbox;
