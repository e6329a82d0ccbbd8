-- The current user, the database, and the user's rights on the given tables. Always one row.
-- $1 text[]   tables
select
    current_user::text as reader,
    current_database()::text as database,
    current_setting('server_version') as version,
    pg_is_in_recovery() as is_replica,
    coalesce((select role.rolsuper from pg_catalog.pg_roles as role where role.rolname = current_user), false)
        as is_superuser,
    array(
        select given.name
        from unnest($1::text[]) as given (name)
        where has_any_column_privilege(to_regclass(quote_ident(given.name)), 'select')
        order by given.name
    ) as readable,
    array(
        select given.name
        from unnest($1::text[]) as given (name)
        where has_table_privilege(to_regclass(quote_ident(given.name)), 'insert, update, delete, truncate')
        order by given.name
    ) as writable;
