-- Whether our own schema and its tables exist, and what the current user may do with them. Always one row.
select
    ours.schema is not null as has_schema,
    ours.num_tables = 6 as has_tables,
    coalesce(
        has_schema_privilege(ours.schema, 'usage') and has_table_privilege(ours.schema_version, 'select'), false
    ) as has_version,
    coalesce(has_schema_privilege(ours.schema, 'usage') and has_table_privilege(ours.daily, 'select'), false) as readable,
    coalesce(has_schema_privilege(ours.schema, 'usage') and ours.writable, false) as writable,
    has_database_privilege(current_database(), 'create') as may_create,
    pg_is_in_recovery() as is_replica,
    current_setting('default_transaction_read_only')::boolean as is_read_only,
    current_database()::text as database,
    current_user::text as reader
from (
    -- Read from the catalog: naming a table of a schema without the right to use it would be an error.
    select
        max(namespace.oid::bigint)::oid as schema,
        max(relation.oid::bigint) filter (where relation.relname = 'daily')::oid as daily,
        max(relation.oid::bigint) filter (where relation.relname = 'schema_version')::oid as schema_version,
        count(relation.oid) filter (where relation.relname not in ('schema_version', 'blocks')) as num_tables,
        bool_and(
            has_table_privilege(relation.oid, 'select')
            and has_table_privilege(relation.oid, 'insert')
            and has_table_privilege(relation.oid, 'update')
            and (relation.relname in ('forecasts', 'revision') or has_table_privilege(relation.oid, 'delete'))
        ) filter (where relation.relname <> 'schema_version') as writable
    from pg_catalog.pg_namespace as namespace
    left join pg_catalog.pg_class as relation
        on
            relation.relnamespace = namespace.oid
            and relation.relkind in ('r', 'p', 'v', 'f')
            and relation.relname in (
                'daily', 'sites', 'metrics', 'events', 'forecasts', 'revision', 'schema_version', 'blocks'
            )
    where namespace.nspname = 'forecasting'
) as ours;
