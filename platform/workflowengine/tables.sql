-- +goose Up

-- The tables of the workflow engine in one process (platform/workflowengine). With Dapr
-- the sidecar keeps workflows in a store of its own, and these stay empty.
create table workflow_instances (
    id text primary key,
    name text not null,
    status text not null default 'PENDING',
    custom_status text,
    created_at timestamptz not null default now(),
    completed_at timestamptz,
    -- When the next turn is due; null while no event waits.
    due_at timestamptz,
    -- The process that runs a turn now.
    worker uuid,
    -- Turns begun since the last one that was saved.
    attempts integer not null default 0
) with (fillfactor = 70);
create index workflow_instances_due on workflow_instances (due_at) where worker is null and due_at is not null;
create index workflow_instances_held on workflow_instances (worker) where worker is not null;
create index workflow_instances_completed on workflow_instances (completed_at) where completed_at is not null;

-- What happened, in order: a workflow is replayed from it at each turn.
create table workflow_history (
    instance_id text not null references workflow_instances on delete cascade,
    seq integer not null,
    event bytea not null,
    primary key (instance_id, seq)
);

-- Events, results and timers that wait for the next turn of their instance.
create table workflow_inbox (
    instance_id text not null references workflow_instances on delete cascade,
    id bigint generated always as identity,
    visible_at timestamptz not null,
    event bytea not null,
    primary key (instance_id, id)
);

-- Activities that have not ended.
create table workflow_tasks (
    id bigint generated always as identity primary key,
    instance_id text not null references workflow_instances on delete cascade,
    due_at timestamptz not null default now(),
    worker uuid,
    attempts integer not null default 0,
    event bytea not null
) with (fillfactor = 70);
create index workflow_tasks_instance on workflow_tasks (instance_id);
create index workflow_tasks_due on workflow_tasks (due_at) where worker is null;
create index workflow_tasks_held on workflow_tasks (worker) where worker is not null;

-- The processes that run engines. What one holds whose time is over is free again.
create table workflow_workers (
    id uuid primary key,
    alive_until timestamptz not null
);
create index workflow_workers_alive on workflow_workers (alive_until);

-- +goose Down

drop table workflow_workers, workflow_tasks, workflow_inbox, workflow_history, workflow_instances;
