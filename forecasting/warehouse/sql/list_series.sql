-- The sites and metrics that have a value on any day. Reads the whole table.
-- $1 text[]   metrics: numeric columns of daily_metrics
select distinct
    coalesce(row_.content ->> 'site', current_database()) as site,
    entry.metric
from daily_metrics as m
cross join lateral (select to_jsonb(m.*) as content) as row_
cross join lateral jsonb_each_text(row_.content) as entry (metric, value)
where entry.metric = any($1::text[]) and entry.value is not null and isfinite(m.date);
