-- daily_metrics as rows of forecasting.daily, in a temporary table: a row each day and metric, NULL where its column is.
-- Where a column begins or ends with NULLs, the series itself begins later or ends before.
-- Rows are taken apart as jsonb, so that one query serves whatever columns there are; text carries NaN and Infinity.
-- $1 text[]   metrics: numeric columns of daily_metrics
create temporary table incoming on commit drop as
with measured as (
    select
        coalesce(row_.content ->> 'site', current_database()) as site,
        entry.metric,
        m.date::date as day,
        entry.value::double precision as value
    from daily_metrics as m
    cross join lateral (select to_jsonb(m.*) as content) as row_
    cross join lateral jsonb_each_text(row_.content) as entry (metric, value)
    where isfinite(m.date) and entry.metric = any($1::text[])
),

whole as (
    select measured.site, measured.metric, min(measured.day) as first_day, max(measured.day) as last_day
    from measured
    where measured.value <> 'NaN'
    group by measured.site, measured.metric
)

select
    measured.site,
    measured.metric,
    measured.day,
    measured.value,
    case when measured.value <> 'NaN' then 'observed' else 'unmeasured' end as verdict
from measured
inner join whole on whole.site = measured.site and whole.metric = measured.metric
where measured.day between whole.first_day and whole.last_day;
