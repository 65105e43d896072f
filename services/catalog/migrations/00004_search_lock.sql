-- +goose Up

-- It has no rows: it is what two kinds of transactions wait for each other by, from when they note
-- changes for the search index until they commit. Those that write products lock it in row
-- exclusive mode. Those that write what belongs to products, and look for these, lock it in share
-- mode. Of one kind any number go on at the same time.
-- The next migration uses it, once the services' role has been given its privileges on it.
create table search_lock ();

-- +goose Down
drop table search_lock;
