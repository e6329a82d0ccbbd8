-- Whether our own schema and its tables are there, and what who asks may do with them. Always one row.
select
    ours.schema is not null as has_schema,
    ours.daily is not null and ours.forecasts is not null as has_tables,
    coalesce(has_schema_privilege(ours.schema, 'usage') and has_table_privilege(ours.daily, 'select'), false) as readable,
    coalesce(
        has_schema_privilege(ours.schema, 'usage')
        and has_table_privilege(ours.daily, 'select')
        and has_table_privilege(ours.daily, 'insert')
        and has_table_privilege(ours.daily, 'update')
        and has_table_privilege(ours.daily, 'delete')
        and has_table_privilege(ours.forecasts, 'select')
        and has_table_privilege(ours.forecasts, 'insert')
        and has_table_privilege(ours.forecasts, 'update'),
        false
    ) as writable,
    current_database()::text as database,
    current_user::text as reader
from (
    -- By the catalog, since naming a table of a schema that one may not use is an error.
    select
        max(namespace.oid::bigint)::oid as schema,
        max(relation.oid::bigint) filter (where relation.relname = 'daily')::oid as daily,
        max(relation.oid::bigint) filter (where relation.relname = 'forecasts')::oid as forecasts
    from pg_catalog.pg_namespace as namespace
    left join pg_catalog.pg_class as relation
        on relation.relnamespace = namespace.oid and relation.relkind in ('r', 'p', 'v', 'f')
    where namespace.nspname = 'forecasting'
) as ours;
