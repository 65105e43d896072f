-- +goose Up

-- A company's credit. What its orders hold and use never exceeds its limit,
-- whatever the code does.
create table companies (
    id           text   primary key,
    name         text   not null,
    currency     text   not null,
    credit_limit bigint not null check (credit_limit >= 0),
    held         bigint not null default 0 check (held >= 0),
    exposure     bigint not null default 0 check (exposure >= 0),
    warehouses   text[] not null default '{}',
    policy       jsonb  not null,
    constraint within_limit check (held + exposure <= credit_limit)
) with (fillfactor = 50);

-- One row an order; see order.go.
create table orders (
    id              uuid    primary key,
    idempotency_key text    not null,
    request_hash    text    not null,
    company_id      text    not null references companies,
    ordered_by      text    not null,
    status          text    not null,
    reason          jsonb,
    lines           jsonb   not null,
    amount          bigint  not null check (amount > 0),
    currency        text    not null,
    allow_backorder boolean not null,
    allocations     jsonb,
    shortages       jsonb,
    erp_order_id    text    not null,
    credit          text    not null check (credit in ('', 'held', 'used', 'released')),
    cancel_asked    boolean not null,
    steps           jsonb,
    traceparent     text    not null,
    submitted_at    timestamptz not null,
    started_at      timestamptz,
    ended_at        timestamptz,
    moved_at        timestamptz not null,
    version         bigint  not null,
    constraint orders_once unique (idempotency_key)
) with (fillfactor = 60);

create index orders_running on orders (moved_at) where ended_at is null;

-- The approval gate of an order; see gate.go.
create table gates (
    id           uuid    primary key references orders,
    company_id   text    not null references companies,
    state        text    not null check (state in ('open', 'approved', 'rejected', 'expired', 'cancelled')),
    need         integer not null check (need > 0),
    level        integer not null,
    reason       jsonb,
    opened_at    timestamptz not null,
    remind_at    timestamptz,
    escalate_at  timestamptz,
    expire_at    timestamptz not null,
    decided_at   timestamptz,
    observed_at  timestamptz,
    version      bigint  not null
) with (fillfactor = 60);

create index gates_open on gates (company_id) where state = 'open';
create index gates_unobserved on gates (decided_at) where state <> 'open' and observed_at is null;

-- Who decided what, why, when and on which order: append-only, and each row of an
-- order's chain is sealed by the hash of the row before.
create table decisions (
    order_id     uuid        not null references gates,
    seq          integer     not null,
    approver     text        not null,
    on_behalf_of text        not null,
    verdict      text        not null check (verdict in ('approve', 'reject')),
    reason       text        not null,
    order_hash   text        not null,
    source       text        not null,
    decided_at   timestamptz not null,
    prev_hash    text        not null,
    hash         text        not null,
    primary key (order_id, seq),
    constraint decisions_once unique (order_id, approver),
    check (verdict <> 'reject' or reason <> '')
);

-- +goose StatementBegin
create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'decisions are append-only';
end $$;
-- +goose StatementEnd

create trigger decisions_append_only before update or delete or truncate on decisions
    for each statement execute function refuse_change();

-- +goose Down
drop table decisions, gates, orders, companies;
drop function refuse_change;
