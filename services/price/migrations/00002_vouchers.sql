-- +goose Up

-- How often a voucher may be used, and is. What it gives is in documents.
create table vouchers (
    code     text   primary key,
    max_uses bigint not null,
    held     bigint not null default 0 check (held >= 0),
    redeemed bigint not null default 0 check (redeemed >= 0),
    constraint vouchers_not_overdrawn check (held + redeemed <= max_uses)
);

-- An order has one voucher at most. released: checkout said that there is no such order;
-- the order may still be placed, and then holds it again. cancelled: for good.
create table voucher_uses (
    order_id uuid        primary key,
    code     text        not null references vouchers (code),
    quote_id uuid        not null,
    status   text        not null check (status in ('held', 'redeemed', 'released', 'cancelled')),
    held_at  timestamptz not null,
    ask_at   timestamptz not null,
    ended_at timestamptz,
    check ((status = 'held') = (ended_at is null))
);
create unique index voucher_uses_by_quote on voucher_uses (quote_id) where status in ('held', 'redeemed');
create index voucher_uses_due on voucher_uses (ask_at) where status = 'held';
create index voucher_uses_by_code on voucher_uses (code);

-- +goose Down
drop table voucher_uses, vouchers;
