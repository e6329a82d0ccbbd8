-- The columns of daily_metrics in order, with their types; a domain is shown as its base type.
select
    attribute.attname::text as name,
    has_column_privilege(attribute.attrelid, attribute.attnum, 'select') as readable,
    attribute.atthasdef as has_default,
    format_type(coalesce(nullif(type.typbasetype, 0), type.oid), null) as type
from pg_catalog.pg_attribute as attribute
inner join pg_catalog.pg_type as type on type.oid = attribute.atttypid
where
    attribute.attrelid = to_regclass('daily_metrics')
    and attribute.attnum > 0
    and not attribute.attisdropped
order by attribute.attnum;
