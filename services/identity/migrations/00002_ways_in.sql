-- +goose Up

-- Sign-ins and registrations that take two requests. Each is taken once.
create table ceremonies (
    secret_hash bytea       primary key,
    purpose     text        not null,
    account_id  uuid        references accounts on delete cascade,
    data        jsonb       not null,
    expires_at  timestamptz not null
);

create index ceremonies_by_account on ceremonies (account_id);
create index ceremonies_by_expiry on ceremonies (expires_at);

create table passkeys (
    id            uuid        primary key,
    account_id    uuid        not null references accounts on delete cascade,
    name          text        not null,
    credential_id bytea       not null unique,
    credential    jsonb       not null,
    created_at    timestamptz not null default now(),
    used_at       timestamptz
);

create index passkeys_by_account on passkeys (account_id, created_at);

-- Who an OpenID provider says somebody is. An address is nowhere here: it can be given to
-- somebody else, a subject cannot.
create table openid_links (
    id         uuid        primary key,
    account_id uuid        not null references accounts on delete cascade,
    provider   text        not null,
    issuer     text        not null,
    subject    text        not null,
    created_at timestamptz not null default now(),
    unique (issuer, subject)
);

create index openid_links_by_account on openid_links (account_id, created_at);

-- Mail that is to be sent, the address sealed. A row goes once it is sent or given up.
create table mails (
    id         uuid        primary key,
    address    bytea       not null,
    attempts   integer     not null default 0,
    created_at timestamptz not null default now(),
    due_at     timestamptz not null default now()
);

create index mails_by_due on mails (due_at);

-- What was mailed to set a new password with. login is the address that it went to: once
-- the account has another, the token is void.
create table reset_tokens (
    token_hash bytea       primary key,
    account_id uuid        not null references accounts on delete cascade,
    login      bytea       not null,
    expires_at timestamptz not null
);

create index reset_tokens_by_account on reset_tokens (account_id);
create index reset_tokens_by_expiry on reset_tokens (expires_at);

-- Since when it is known that the account's address is its owner's.
alter table accounts add column verified_at timestamptz;

-- +goose Down
alter table accounts drop column verified_at;
drop table reset_tokens;
drop table mails;
drop table openid_links;
drop table passkeys;
drop table ceremonies;
