-- Whether the application tracks views, and whether an index finds the visits of a day. Always one row.
select
    exists (
        select from ahoy_events as event
        where event.name = '$view'
    ) as has_views,
    exists (
        select from pg_catalog.pg_index as index
        inner join pg_catalog.pg_attribute as attribute
            on attribute.attrelid = index.indrelid and attribute.attnum = index.indkey[0]
        where
            index.indrelid = relation.oid
            and index.indisvalid
            and index.indpred is null
            and attribute.attname = 'started_at'
    ) as has_index,
    -- As of the last ANALYZE; -1 if there was none.
    greatest(relation.reltuples, 0)::bigint as num_visits,
    format('%I.%I', namespace.nspname, relation.relname) as place
from pg_catalog.pg_class as relation
inner join pg_catalog.pg_namespace as namespace on namespace.oid = relation.relnamespace
where relation.oid = to_regclass('ahoy_visits');
