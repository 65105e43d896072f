-- +goose Up

-- Nothing here rewrites a table: each statement holds its lock for a moment only.
-- What reads whole tables is in 00003.

-- When the relay looks at an order again, how often it has told its workflow and
-- ended it since the order last moved; see due.go. Rows that are there get a time
-- long past: the relay then works out the right one, some at a time. So it does with
-- those that a service of before adds meanwhile.
alter table orders
    add column next_check_at timestamptz default '2000-01-01T00:00:00Z',
    add column told_count    integer not null default 0,
    add column told_at       timestamptz,
    add column ends_count    integer not null default 0,
    -- What was held of the company's credit, and so is used or given back.
    add column credit_amount bigint;
alter table orders alter column next_check_at set default now();

-- Which replica's relay leads, and until when unless it says so again.
create table relay_leader (
    one    boolean     primary key default true check (one),
    holder text        not null,
    until  timestamptz not null
);
insert into relay_leader (one, holder, until) values (true, '', 'epoch');

-- What was ordered never changes. The owner of the table may disable this; the role
-- that the service runs as may not.
-- +goose StatementBegin
create function refuse_order_change() returns trigger language plpgsql as $$
begin
    raise exception 'what was ordered is never changed (order %)', old.id;
end $$;
-- +goose StatementEnd

create trigger orders_frozen before update on orders for each row
    when (old.id <> new.id or old.company_id <> new.company_id or old.ordered_by <> new.ordered_by
        or old.lines <> new.lines or old.amount <> new.amount or old.currency <> new.currency
        or old.allow_backorder <> new.allow_backorder or old.submitted_at <> new.submitted_at
        or old.idempotency_key <> new.idempotency_key or old.request_hash <> new.request_hash)
    execute function refuse_order_change();

-- The key that seals decisions, as the two blocks of HMAC-SHA256 made from it. The
-- role that the service runs as has no right to it: it can add a decision, but not
-- make up the seal of another.
create table decision_key (
    one       boolean     primary key default true check (one),
    inner_pad bytea       not null check (length(inner_pad) = 64),
    outer_pad bytea       not null check (length(outer_pad) = 64),
    -- Decisions from before have no seal.
    since     timestamptz not null default now()
);

-- +goose StatementBegin
do $$
declare
    key       bytea := sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
                           || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
    inner_pad bytea := decode(repeat('36', 64), 'hex');
    outer_pad bytea := decode(repeat('5c', 64), 'hex');
begin
    for i in 0 .. length(key) - 1 loop
        inner_pad := set_byte(inner_pad, i, get_byte(inner_pad, i) # get_byte(key, i));
        outer_pad := set_byte(outer_pad, i, get_byte(outer_pad, i) # get_byte(key, i));
    end loop;
    insert into decision_key (one, inner_pad, outer_pad) values (true, inner_pad, outer_pad);
end $$;
-- +goose StatementEnd

alter table decisions
    add column recorded_at timestamptz,
    add column mac         text;

-- mac = HMAC-SHA256(key, hash + "," + recorded_at in microseconds), in hex. chain.go
-- computes the same.
-- +goose StatementBegin
create function seal_decision() returns trigger
    language plpgsql security definer set search_path = public, pg_temp as $$
declare
    key decision_key;
begin
    select k.one, k.inner_pad, k.outer_pad, k.since into strict key from decision_key k;
    new.recorded_at := clock_timestamp();
    new.mac := encode(sha256(key.outer_pad || sha256(key.inner_pad || convert_to(
        new.hash || ',' || (extract(epoch from new.recorded_at) * 1000000)::bigint, 'UTF8'))), 'hex');
    return new;
end $$;
-- +goose StatementEnd

create trigger decisions_sealed before insert on decisions
    for each row execute function seal_decision();

-- +goose Down
drop trigger decisions_sealed on decisions;
drop function seal_decision;
alter table decisions drop column recorded_at, drop column mac;
drop table decision_key;
drop trigger orders_frozen on orders;
drop function refuse_order_change;
drop table relay_leader;
alter table orders
    drop column next_check_at, drop column told_count, drop column told_at, drop column ends_count, drop column credit_amount;
