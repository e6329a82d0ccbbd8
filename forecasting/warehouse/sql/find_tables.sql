-- Whether tables are there and may be read by whom asks: a row each.
-- $1 text[]   their names
select
    wanted.name,
    (
        select format('%I.%I', namespace.nspname, relation.relname)
        from pg_catalog.pg_class as relation
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
        where relation.oid = to_regclass(quote_ident(wanted.name))
    ) as place,
    coalesce(has_table_privilege(to_regclass(quote_ident(wanted.name)), 'select'), false) as readable,
    current_database()::text as database,
    current_user::text as reader,
    -- Schemas that hold one, whether or not the search path names them and the reader may use them.
    array(
        select namespace.nspname::text
        from pg_catalog.pg_class as relation
        inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
        where relation.relname = wanted.name and relation.relkind in ('r', 'v', 'm', 'f', 'p')
        order by namespace.nspname
    ) as schemas
from unnest($1::text[]) as wanted (name);
