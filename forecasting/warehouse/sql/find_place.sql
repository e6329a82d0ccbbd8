-- Whether a table or view exists, and whether the current user may read it.
-- $1 text   its name with its schema, quoted
select
    to_regclass($1) is not null as exists,
    coalesce(has_any_column_privilege(to_regclass($1), 'select'), false) as readable,
    current_database()::text as database,
    current_user::text as reader;
