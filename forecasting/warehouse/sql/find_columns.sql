-- The columns of tables of these names in any schema, with their types: one row per table, the search path's first.
-- $1 text[]   names of tables
select
    relation.relname::text as name,
    array_agg(attribute.attname::text order by attribute.attnum) as columns,
    array_agg(format_type(attribute.atttypid, null) order by attribute.attnum) as types
from pg_catalog.pg_class as relation
inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
inner join pg_catalog.pg_attribute as attribute
    on attribute.attrelid = relation.oid and attribute.attnum > 0 and not attribute.attisdropped
where
    relation.relname = any($1::text[])
    and relation.relkind in ('r', 'v', 'm', 'f', 'p')
    and namespace.nspname not in ('pg_catalog', 'information_schema')
group by relation.oid, relation.relname, namespace.nspname
order by pg_catalog.pg_table_is_visible(relation.oid) desc, namespace.nspname;
