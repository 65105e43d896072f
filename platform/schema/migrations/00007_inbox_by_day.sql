-- +goose Up

-- Handled events by the day on which their ids were made, so that old ones are
-- forgotten by dropping a table instead of row by row. Ids of no such day (not of
-- version 7, or of a clock that is far off) are in the default partition, which is
-- pruned by row.
alter table inbox rename to inbox_before;
alter table inbox_before rename constraint inbox_pkey to inbox_before_pkey;

create table inbox (
    event_id   uuid        not null,
    consumer   text        not null,
    handled_at timestamptz not null default now(),
    primary key (event_id, consumer)
) partition by range (event_id);

create table inbox_default partition of inbox default;
create index inbox_default_by_time on inbox_default (handled_at);

-- Days of which an event was handled more than a day later, and when last: their
-- partitions are kept for longer.
create table inbox_late (
    day        date        primary key,
    handled_at timestamptz not null
);

-- The lowest UUID of version 7 made at a time (RFC 9562, section 5.7).
-- +goose StatementBegin
create function lowest_v7(at timestamptz) returns uuid language sql stable as $$
    select (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;
-- +goose StatementEnd

-- inbox_add_day makes the partition of a day, and reports whether there was none. One
-- caller at a time does so. Rows of that day that are in the default partition move.
-- Both tables are locked first, so that no such row comes in meanwhile; whoever writes
-- to them is waited for a moment, and it fails otherwise.
-- +goose StatementBegin
create function inbox_add_day(day date) returns boolean language plpgsql security definer
set search_path = public, pg_temp set lock_timeout = '100ms' as $$
declare
    name text := 'inbox_' || to_char(day, 'YYYYMMDD');
    low  uuid := lowest_v7(day::timestamp at time zone 'UTC');
    high uuid := lowest_v7((day + 1)::timestamp at time zone 'UTC');
begin
    if abs(day - current_date) > 60 then
        raise exception 'no partition for %, which is too far from today', day;
    end if;
    if to_regclass(name) is not null or not pg_try_advisory_xact_lock(hashtext('inbox partitions')) then
        return false;
    end if;
    lock table only inbox, inbox_default in access exclusive mode;
    execute format('create table %I (like inbox including defaults including constraints)', name);
    execute format('with moved as (
            delete from inbox_default where event_id >= $1 and event_id < $2 returning event_id, consumer, handled_at)
        insert into %I (event_id, consumer, handled_at) select event_id, consumer, handled_at from moved', name) using low, high;
    execute format('alter table inbox attach partition %I for values from (%L) to (%L)', name, low, high);
    return true;
end $$;
-- +goose StatementEnd

-- inbox_drop_day drops the oldest partition all of whose events were handled longer
-- ago than keep, 15 days at least, and returns its name; null is none. A day's events
-- are handled within two days of its beginning, or noted in inbox_late; a third is for
-- clocks that differ. The table is locked first, so that no event comes in unnoticed;
-- whoever writes to it is waited for a moment only.
-- +goose StatementBegin
create function inbox_drop_day(keep interval) returns text language plpgsql security definer
set search_path = public, pg_temp set lock_timeout = '100ms' as $$
declare
    before timestamptz := now() - greatest(keep, interval '15 days');
    old    record;
begin
    if not pg_try_advisory_xact_lock(hashtext('inbox partitions')) then
        return null;
    end if;
    for old in
        select relid::text as name, to_date(right(relid::text, 8), 'YYYYMMDD') as day from pg_partition_tree('inbox')
        where relid::text ~ '^inbox_[0-9]{8}$' order by 1
    loop
        exit when (old.day + 3)::timestamp at time zone 'UTC' > before;
        continue when exists (select from inbox_late l where l.day = old.day and l.handled_at > before - interval '1 day');
        lock table only inbox in access exclusive mode;
        execute format('lock table %I in access exclusive mode', old.name);
        continue when exists (select from inbox_late l where l.day = old.day and l.handled_at > before - interval '1 day');
        execute format('drop table %I', old.name);
        delete from inbox_late l where l.day = old.day;
        return old.name;
    end loop;
    return null;
end $$;
-- +goose StatementEnd

-- inbox_forget deletes up to most rows of the default partition that were handled
-- longer ago than keep, 15 days at least, and returns how many.
-- +goose StatementBegin
create function inbox_forget(keep interval, most integer) returns bigint language plpgsql security definer
set search_path = public, pg_temp as $$
declare
    before timestamptz := now() - greatest(keep, interval '15 days');
    gone   bigint;
begin
    delete from inbox_default where ctid = any (array(
        select ctid from inbox_default where handled_at < before order by handled_at limit most for update skip locked));
    get diagnostics gone = row_count;
    delete from inbox_late where day < (before - interval '60 days')::date; -- their partitions are gone
    return gone;
end $$;
-- +goose StatementEnd

select inbox_add_day(day::date)
from generate_series(current_date - 20, current_date + 7, interval '1 day') day;

-- The copy takes about 9 s for each million rows, under a lock: docs/operating.md, Upgrading.
-- What was handled so far counts as late: when it was is not looked up row by row.
insert into inbox_late (day, handled_at)
select day::date, now() from generate_series(current_date - 20, current_date, interval '1 day') day
where exists (select from inbox_before);
insert into inbox (event_id, consumer, handled_at) select event_id, consumer, handled_at from inbox_before;
drop table inbox_before;

select raise_schema_floor('kit', 7, 'handled events are kept by day');

-- +goose Down
create table inbox_before (
    event_id   uuid        not null,
    consumer   text        not null,
    handled_at timestamptz not null default now(),
    primary key (event_id, consumer)
);
insert into inbox_before (event_id, consumer, handled_at) select event_id, consumer, handled_at from inbox;
drop table inbox, inbox_late;
drop function inbox_add_day, inbox_drop_day, inbox_forget, lowest_v7;
alter table inbox_before rename to inbox;
alter table inbox rename constraint inbox_before_pkey to inbox_pkey;
