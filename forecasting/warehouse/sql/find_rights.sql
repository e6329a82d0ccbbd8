-- Who asks, where, and what they may do with the given tables. Always one row.
-- $1 text[]   tables
select
    current_user::text as reader,
    current_database()::text as database,
    current_setting('server_version') as version,
    pg_is_in_recovery() as is_replica,
    coalesce((select role.rolsuper from pg_catalog.pg_roles as role where role.rolname = current_user), false)
        as is_superuser,
    array(
        select wanted.name
        from unnest($1::text[]) as wanted (name)
        where has_table_privilege(to_regclass(quote_ident(wanted.name)), 'select')
        order by wanted.name
    ) as readable,
    array(
        select wanted.name
        from unnest($1::text[]) as wanted (name)
        where has_table_privilege(to_regclass(quote_ident(wanted.name)), 'insert, update, delete, truncate')
        order by wanted.name
    ) as writable;
