-- How often others than this program's updates have changed forecasting.daily, and whether that was checked. NULL if
-- changes are not counted. Always one row.
select
    case
        when exists (
            select from pg_catalog.pg_trigger
            inner join pg_catalog.pg_class on pg_class.oid = tgrelid and relkind = 'r'
            where tgrelid = 'forecasting.daily'::regclass and tgname = 'count_updated' and tgenabled <> 'D'
        )
            then revision.num_foreign
    end as num_foreign,
    revision.num_checked
from forecasting.revision;
