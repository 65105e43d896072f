-- +goose Up

-- Makes a statement that changed fewer rows than it should fail as a serialization
-- failure, so that it may travel with the commit instead of being waited for.
-- +goose StatementBegin
create function expect_rows(got bigint, want bigint) returns void language plpgsql as $$
begin
    if got <> want then
        raise exception 'a row changed meanwhile' using errcode = 'serialization_failure';
    end if;
end $$;
-- +goose StatementEnd

-- +goose Down
drop function expect_rows;
