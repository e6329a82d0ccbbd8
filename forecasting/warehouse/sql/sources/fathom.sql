-- Fathom Lite's days: one row per site, metric and local day with a view.
-- To try it in psql, replace the final semicolon by \bind '{1,2}' 2024-01-01 2024-02-01 Europe/Paris \g
-- $1 text[]   sites.id
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
-- Hours are stored in UTC, in a column without a time zone. An hour counts on the local day in which it begins: it
-- cannot be split where midnight is not a whole UTC hour, as in Asia/Kolkata.
with stats as (
    select
        hourly.site_id,
        hourly.pageviews,
        hourly.visitors,
        hourly.sessions,
        hourly.bounce_rate,
        hourly.avg_duration,
        hourly.ts at time zone 'UTC' at time zone $4::text as local_time
    from site_stats as hourly
    where
        hourly.site_id = any($1::text[]::integer[])
        and hourly.ts >= ($2::date::timestamp at time zone $4::text) at time zone 'UTC'
        and hourly.ts < ($3::date::timestamp at time zone $4::text) at time zone 'UTC'
        and hourly.pageviews > 0
),

total as (
    select
        stats.site_id,
        stats.local_time::date as day,
        sum(stats.pageviews)::double precision as pageviews,
        sum(stats.visitors)::double precision as visitors,
        sum(stats.sessions)::double precision as sessions,
        sum(stats.sessions * stats.bounce_rate) as bounces,
        -- Weighted as in Fathom, although the mean is only over views whose end is known (known_durations).
        sum(stats.pageviews * stats.avg_duration) as seconds,
        bit_or(1 << extract(hour from stats.local_time)::integer) as hours
    from stats
    group by stats.site_id, stats.local_time::date
)

select total.site_id::text as key, measured.metric, total.day, measured.value, total.hours
from total
cross join lateral (
    values
        ('page_visits', total.pageviews),
        ('unique_visitors', total.visitors),
        ('visits', total.sessions),
        ('bounce_rate', total.bounces / nullif(total.sessions, 0)),
        ('visit_duration', total.seconds / total.pageviews)
) as measured (metric, value)
where measured.value is not null;
