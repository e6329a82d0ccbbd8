-- The sites of daily_metrics, with their first and last days: the column `site`, or the database's name. Days before 1990
-- or after tomorrow have a wrong date, and are only counted.
-- If the table has no such column, `site` resolves to the NULL that `absent` provides.
select
    coalesce(row_.site::text, current_database()) as key,
    min(row_.day) filter (where not row_.is_misdated) as first_day,
    max(row_.day) filter (where not row_.is_misdated) as last_day,
    count(*) filter (where row_.is_misdated) as num_misdated,
    (min(row_.day) filter (where row_.is_misdated))::text as misdated_first,
    (max(row_.day) filter (where row_.is_misdated))::text as misdated_last
from (values (null::text)) as absent (site)
cross join lateral (
    select site, date::date as day, date::date < '1990-01-01' or date::date > current_date + 1 as is_misdated
    from daily_metrics
    where date is not null
) as row_
group by row_.site
order by key;
