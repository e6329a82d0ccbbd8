-- The sites of daily_metrics, with their first and last days: the column `site`, or the database's name. Days before 1990
-- or in the future have a wrong date, and are only counted.
-- If the table has no such column, `site` resolves to the NULL that `absent` provides.
select
    row_.key,
    min(row_.day) filter (where not row_.is_misdated) as first_day,
    max(row_.day) filter (where not row_.is_misdated) as last_day,
    count(*) filter (where row_.is_misdated) as num_misdated,
    (min(row_.day) filter (where row_.is_misdated))::text as misdated_first,
    (max(row_.day) filter (where row_.is_misdated))::text as misdated_last
from (values (null::text)) as absent (site)
cross join lateral (
    select
        coalesce(site::text, current_database()) as key,
        date::date as day,
        date < '1990-01-01' or date > now() + interval '1 day' as is_misdated
    from daily_metrics
    where date is not null
) as row_
group by row_.key
order by row_.key;
