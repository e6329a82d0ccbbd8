-- How many rows of a table PostgreSQL has seen inserted, updated and deleted, and whether that can be relied on.
-- $1 text     table
with recursive part (oid) as (
    select to_regclass(quote_ident($1::text))::oid
    union all
    select inhrelid from pg_catalog.pg_inherits inner join part on inhparent = part.oid
),

class as (
    select pg_class.oid, relname, relkind, pg_relation_filenode(pg_class.oid) as filenode
    from part
    inner join pg_catalog.pg_class on pg_class.oid = part.oid
)

select
    bool_and(relkind in ('r', 'p')) as is_table,
    bool_or(row_security_active(oid)) as is_hidden,
    pg_is_in_recovery() as is_replica,
    current_setting('track_counts') = 'on' and not exists (
        select from pg_catalog.pg_db_role_setting where 'track_counts=off' = any(setconfig)
    ) as is_counting,
    coalesce(sum(case when relkind = 'r' then pg_relation_size(oid) end), 0)::bigint as size,
    coalesce(sum(pg_stat_get_tuples_inserted(oid)), 0)::bigint as num_inserted,
    coalesce(sum(pg_stat_get_tuples_updated(oid)), 0)::bigint as num_updated,
    coalesce(sum(pg_stat_get_tuples_deleted(oid)), 0)::bigint as num_deleted,
    -- Counts begin anew after a crash and after a reset. A table is another after TRUNCATE and ALTER TABLE.
    hashtextextended(concat_ws(
        ' ',
        pg_postmaster_start_time(),
        (select stats_reset from pg_catalog.pg_stat_bgwriter),
        (select stats_reset from pg_catalog.pg_stat_database where datname = current_database()),
        current_database(),
        string_agg(concat_ws(':', oid, filenode), ' ' order by oid),
        (
            select
                string_agg(
                    concat_ws(':', attrelid, attname, atttypid, pg_attribute.xmin), ' ' order by attrelid, attnum
                )
            from pg_catalog.pg_attribute
            inner join part on part.oid = attrelid
            where attnum > 0
        )
    ), 0)::text as identity
from class;
