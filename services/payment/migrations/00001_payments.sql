-- +goose Up

-- One row an order. The intention to charge or refund is recorded before the
-- provider is called, so that whatever a crash interrupts is taken up again.
create table payments (
    id              uuid    primary key,
    status          text    not null check (status in ('unknown', 'charging', 'completed', 'failed', 'void', 'refunding', 'refunded')),
    amount          bigint  not null check (amount >= 0),
    currency        text    not null,
    token           text    not null,
    traceparent     text    not null,
    cancelled       boolean not null,
    charge_id       text    not null,
    refund_id       text    not null,
    reason          jsonb,
    attempts        integer not null,
    last_error      text    not null,
    due_at          timestamptz,
    requested_at    timestamptz,
    completed_at    timestamptz,
    ended_at        timestamptz,
    version         bigint  not null,
    check (status not in ('completed', 'refunding', 'refunded') or charge_id <> ''),
    check ((status in ('charging', 'refunding')) = (due_at is not null))
) with (fillfactor = 70);

-- Work with the provider that is due.
create index payments_due on payments (due_at) where due_at is not null;

-- +goose Down
drop table payments;
