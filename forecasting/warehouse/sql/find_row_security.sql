-- Tables whose rows are hidden from the current user by row level security, some or all.
-- $1 text[]   names of tables; empty: all that the user may read
select
    format('%I.%I', namespace.nspname, relation.relname) as place,
    current_user::text as reader,
    current_database()::text as database,
    pg_relation_size(relation.oid) > 0 or relation.relkind = 'p' as may_have_rows
from pg_catalog.pg_class as relation
inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
where
    relation.relrowsecurity
    and row_security_active(relation.oid)
    and has_schema_privilege(namespace.oid, 'usage')
    and has_any_column_privilege(relation.oid, 'select')
    and (
        cardinality($1::text[]) = 0
        or relation.oid in (select to_regclass(quote_ident(given.name)) from unnest($1::text[]) as given (name))
    )
order by place;
