-- +goose Up

-- sent_at is when the first attempt to charge was let out that is not known to have
-- stayed here. A version of the service from before this column asks the provider
-- without setting it, and may not run beside one that relies on it: the service is
-- stopped for this migration, which also changes every row. The default is for rows that
-- another hand inserts: better looked up at the provider than taken for unsent.
alter table payments
    add column sent_at timestamptz default now(),
    add column refused_at timestamptz;

-- The means of payment is kept only as long as it can be charged.
update payments
set sent_at = case when status = 'void' or status = 'unknown' then null else coalesce(requested_at, now()) end,
    token   = case when status in ('unknown', 'charging') then token else '' end,
    version = version + 1;

alter table payments
    drop constraint payments_status_check,
    add constraint payments_status_check check (status in
        ('unknown', 'charging', 'completed', 'failed', 'void', 'refunding', 'refunded', 'refused'));

-- Work that is due: what was never tried goes first while the provider is on trial.
drop index payments_due;
create index payments_fresh on payments (due_at) where due_at is not null and attempts = 0;
create index payments_retry on payments (due_at) where due_at is not null and attempts > 0;

-- The operator's list.
create index payments_refused on payments (id) where status = 'refused';

-- +goose Down
update payments
set status = case when charge_id = '' then 'charging' else 'refunding' end, due_at = now(), version = version + 1
where status = 'refused';
drop index payments_refused;
drop index payments_retry;
drop index payments_fresh;
create index payments_due on payments (due_at) where due_at is not null;
alter table payments
    drop constraint payments_status_check,
    add constraint payments_status_check check (status in
        ('unknown', 'charging', 'completed', 'failed', 'void', 'refunding', 'refunded')),
    drop column refused_at,
    drop column sent_at;
