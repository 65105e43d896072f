-- +goose NO TRANSACTION
-- +goose Up

-- Indexes are made beside the work that goes on. One that was left half made by an
-- attempt before is dropped first.
drop index concurrently if exists orders_due;
create index concurrently orders_due on orders (next_check_at) where ended_at is null;
drop index concurrently if exists orders_running;

drop index concurrently if exists orders_undone;
create index concurrently orders_undone on orders (moved_at) where status = 'compensation_failed';

-- A key is its company's own.
drop index concurrently if exists orders_once_by_company;
create unique index concurrently orders_once_by_company on orders (company_id, idempotency_key);

-- What waits at a company's gates, soonest to expire first.
drop index concurrently if exists gates_waiting;
create index concurrently gates_waiting on gates (company_id, expire_at, id) where state = 'open';
drop index concurrently if exists gates_open;
drop index concurrently if exists gates_unobserved;

-- The companies that name an approver or a delegate.
drop index concurrently if exists companies_approvers;
create index concurrently companies_approvers on companies using gin ((policy -> 'approvers') jsonb_path_ops);
drop index concurrently if exists companies_delegations;
create index concurrently companies_delegations on companies using gin ((policy -> 'delegations') jsonb_path_ops);

-- +goose Down

drop index concurrently companies_delegations;
drop index concurrently companies_approvers;
create index concurrently gates_unobserved on gates (decided_at) where state <> 'open' and observed_at is null;
create index concurrently gates_open on gates (company_id) where state = 'open';
drop index concurrently gates_waiting;
drop index concurrently if exists orders_once_by_company;
drop index concurrently orders_undone;
create index concurrently orders_running on orders (moved_at) where ended_at is null;
drop index concurrently orders_due;
