-- +goose Up

-- Customers whose id is to be taken out of this database, or was. Once it was, the row
-- has but the SHA-256 of the id, by which an event that comes later is known.
create table erasures (
    digest      bytea       primary key check (length(digest) = 32),
    customer_id text,
    -- The transaction that last asked. What began before it may yet write the id.
    xid         bigint      not null default (pg_current_xact_id()::text::bigint),
    traceparent text        not null,
    asked_at    timestamptz not null,
    look_at     timestamptz not null,
    -- What must end first.
    waits_for   text        not null default '',
    erased_at   timestamptz,
    check ((customer_id is null) = (erased_at is not null))
);
create index erasures_open on erasures (look_at) where erased_at is null;

-- erase_parked puts another id in the place of a customer's in the events that are parked,
-- or were given up by an operator, which a service may not change otherwise. It returns
-- how many had it.
-- +goose StatementBegin
create function erase_parked(customer_id text, pseudonym text) returns bigint language plpgsql security definer
set search_path = public, pg_temp as $$
declare
    old   text := encode(convert_to('"' || customer_id || '"', 'UTF8'), 'hex');
    new   text := encode(convert_to('"' || pseudonym || '"', 'UTF8'), 'hex');
    named bytea := decode(old, 'hex');
    n     bigint;
    m     bigint;
begin
    update parked set payload = decode(replace(encode(payload, 'hex'), old, new), 'hex')
    where position(named in payload) > 0;
    get diagnostics n = row_count;
    update parked_discards set payload = decode(replace(encode(payload, 'hex'), old, new), 'hex')
    where position(named in payload) > 0;
    get diagnostics m = row_count;
    return n + m;
end $$;
-- +goose StatementEnd

-- +goose Down
drop function erase_parked;
drop table erasures;
