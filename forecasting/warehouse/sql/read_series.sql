-- Every value of the given metrics from a day on: one row a series, days since 1970-01-01 and values in their order.
-- A NULL in a row that exists stays NULL: a day that was not measured is not a day without a row.
-- Rows are taken apart as jsonb, so that one query serves whatever columns there are; text carries NaN and Infinity.
-- $1 text[]   metrics: numeric columns of daily_metrics
-- $2 date     first day
-- $3 text[]   sites; empty: all
-- $4 integer  which share of the series, from 0: of the others NULL comes for days and values
-- $5 integer  of how many shares
-- $6 date     today, which is not over
with measured as (
    select
        coalesce(row_.content ->> 'site', current_database()) as site,
        m.date::date - date '1970-01-01' as day,
        row_.content
    from daily_metrics as m
    cross join lateral (select to_jsonb(m.*) as content) as row_
    where m.date >= $2::date and isfinite(m.date)
)

select
    measured.site,
    entry.metric,
    array_agg(measured.day order by measured.day) filter (where share.own) as days,
    array_agg(entry.value::double precision order by measured.day) filter (where share.own) as values,
    max(measured.day) filter (where entry.value <> 'NaN' and measured.day < $6::date - date '1970-01-01') as last_day
from measured
cross join lateral jsonb_each_text(measured.content) as entry (metric, value)
cross join lateral (
    select
        (hashtextextended(measured.site || chr(31) || entry.metric, 0) & 9223372036854775807) % $5::integer
        = $4::integer as own
) as share
where
    entry.metric = any($1::text[])
    and (cardinality($3::text[]) = 0 or measured.site = any($3))
group by measured.site, entry.metric
having count(entry.value) > 0;
