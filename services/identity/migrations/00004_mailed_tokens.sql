-- +goose Up

-- account_id is whose mail it is where a caller asked for it, old the address that the
-- account has until now, sealed. There is no foreign key: asking for a mail must not touch
-- accounts, as its time would tell.
alter table mails
    add column kind       text not null default 'reset',
    add column account_id uuid,
    add column old        bytea;

create index mails_by_account on mails (account_id) where account_id is not null;

-- What was mailed to an address, login, that an account is to have: a new one, where
-- account_id is null, or that one.
create table mailed_tokens (
    token_hash bytea       primary key,
    account_id uuid        references accounts on delete cascade,
    login      bytea       not null,
    old        bytea,
    expires_at timestamptz not null
);

create index mailed_tokens_by_account on mailed_tokens (account_id) where account_id is not null;
create index mailed_tokens_by_login on mailed_tokens (login);
create index mailed_tokens_by_expiry on mailed_tokens (expires_at);

-- +goose Down
drop table mailed_tokens;
delete from mails where kind <> 'reset';
alter table mails
    drop column old,
    drop column account_id,
    drop column kind;
