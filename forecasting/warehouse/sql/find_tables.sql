-- Whether tables exist and the current user may read them: one row per table.
-- $1 text[]   their names
select
    given.name,
    (
        select format('%I.%I', namespace.nspname, relation.relname)
        from pg_catalog.pg_class as relation
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
        where relation.oid = to_regclass(quote_ident(given.name))
    ) as place,
    coalesce(has_table_privilege(to_regclass(quote_ident(given.name)), 'select'), false) as wholly_readable,
    coalesce(has_any_column_privilege(to_regclass(quote_ident(given.name)), 'select'), false) as readable,
    current_database()::text as database,
    current_user::text as reader,
    -- Schemas that have such a table, whether or not they are in the search path and the user may use them; first those
    -- that the user may use.
    array(
        select namespace.nspname::text
        from pg_catalog.pg_class as relation
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
        where relation.relname = given.name and relation.relkind in ('r', 'v', 'm', 'f', 'p')
        order by not has_schema_privilege(namespace.oid, 'usage'), namespace.nspname
    ) as schemas,
    array(
        select namespace.nspname::text
        from pg_catalog.pg_namespace as namespace
        where has_schema_privilege(namespace.oid, 'usage')
    ) as usable_schemas,
    current_schemas(false)::text[] as searched
from unnest($1::text[]) as given (name);
