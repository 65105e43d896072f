-- +goose Up

-- Customers' price groups, as customer says them; access tokens tell them on. By any name
-- that a token may have: accounts, machine clients, who operators act for.
create table customer_groups (
    customer_id text   primary key,
    groups      text[] not null,
    version     bigint not null
);

insert into customer_groups select id::text, groups, 0 from accounts where groups <> '{}';
insert into customer_groups select id::text, groups, 0 from clients where groups <> '{}';
alter table accounts drop column groups;
alter table clients drop column groups;

-- +goose Down
alter table clients add column groups text[] not null default '{}';
alter table accounts add column groups text[] not null default '{}';
drop table customer_groups;
