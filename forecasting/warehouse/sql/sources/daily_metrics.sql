-- daily_metrics with one row per day and metric; the value is NULL where the column is.
-- Rows are split as jsonb, so that one query serves any columns. NaN and Infinity survive as text.
-- To try it in psql, replace the final semicolon by \bind '{shop}' 2024-01-01 2024-02-01 '{page_visits}' \g
-- $1 text[]   sites
-- $2 date     first day
-- $3 date     the day after the last day
-- $4 text[]   metrics: numeric columns of daily_metrics
select
    coalesce(row_.content ->> 'site', current_database()) as key,
    entry.metric,
    m.date::date as day,
    entry.value::double precision as value,
    null::integer as hours
from daily_metrics as m
cross join lateral (select to_jsonb(m.*) as content) as row_
cross join lateral jsonb_each_text(row_.content) as entry (metric, value)
where
    m.date >= $2::date
    and m.date < $3::date
    and entry.metric = any($4::text[])
    and coalesce(row_.content ->> 'site', current_database()) = any($1::text[]);
