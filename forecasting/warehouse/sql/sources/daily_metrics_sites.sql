-- The sites of daily_metrics, with their first and last days: the column `site`, or the database's name.
-- If the table has no such column, `site` resolves to the NULL that `absent` provides.
select row_.key, min(row_.day) as first_day, max(row_.day) as last_day
from (values (null::text)) as absent (site)
cross join lateral (
    select coalesce(site::text, current_database()) as key, date::date as day
    from daily_metrics
    where isfinite(date)
) as row_
group by row_.key
order by row_.key;
