-- +goose Up

-- Parked events that an operator gave up, kept whole with who did so and why.
create table parked_discards (
    consumer     text        not null,
    event_id     uuid        not null,
    topic        text        not null,
    cause        text        not null,
    attempts     integer     not null,
    traceparent  text        not null,
    payload      bytea       not null,
    parked_at    timestamptz not null,
    tried_at     timestamptz not null,
    discarded_at timestamptz not null default now(),
    discarded_by text        not null check (discarded_by <> ''),
    reason       text        not null check (reason <> ''),
    primary key (consumer, event_id, discarded_at)
);

-- +goose Down
drop table parked_discards;
