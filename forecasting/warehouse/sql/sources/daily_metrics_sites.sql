-- The sites of daily_metrics, with their first and last days: the column `site`, else the database's name.
select
    coalesce(to_jsonb(m.*) ->> 'site', current_database()) as key,
    min(m.date::date) as first_day,
    max(m.date::date) as last_day
from daily_metrics as m
where isfinite(m.date)
group by 1
order by 1;
