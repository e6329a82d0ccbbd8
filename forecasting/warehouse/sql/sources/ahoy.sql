-- Ahoy's days: one row per metric and local day with a visit or a view.
-- To try it in psql, run set timezone to 'UTC'; and replace the final semicolon by
-- \bind '{""}' 2024-01-01 2024-02-01 Europe/Paris \g
-- $1 text[]   the only key, '', or no key
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
-- Rails writes UTC into columns without a time zone, unless it was configured to create timestamptz columns. In a
-- session in UTC, such as ours, both are read the same way. Only the columns of the index (visitor_token, started_at)
-- are read: it is a fraction of the table, and Ahoy creates no index on started_at alone.
with visitor as (
    select
        (visit.started_at::timestamptz at time zone $4::text)::date as day,
        visit.visitor_token,
        count(*) as num_visits,
        bit_or(1 << extract(hour from visit.started_at::timestamptz at time zone $4::text)::integer) as hours
    from ahoy_visits as visit
    where
        visit.started_at >= ($2::date::timestamp at time zone $4::text) at time zone 'UTC'
        and visit.started_at < ($3::date::timestamp at time zone $4::text) at time zone 'UTC'
    group by (visit.started_at::timestamptz at time zone $4::text)::date, visit.visitor_token
),

view as (
    select event.time::timestamptz at time zone $4::text as local_time
    from ahoy_events as event
    where
        event.name = '$view'
        and event.time >= ($2::date::timestamp at time zone $4::text) at time zone 'UTC'
        and event.time < ($3::date::timestamp at time zone $4::text) at time zone 'UTC'
),

part as (
    select
        visitor.day,
        null::bigint as views,
        -- A visit without a token belongs to no visitor.
        count(visitor.visitor_token) as visitors,
        sum(visitor.num_visits) as visits,
        bit_or(visitor.hours) as hours
    from visitor
    group by visitor.day
    union all
    select view.local_time::date, count(*), null, null, bit_or(1 << extract(hour from view.local_time)::integer)
    from view
    group by view.local_time::date
),

total as (
    select
        part.day,
        sum(part.views) as views,
        sum(part.visitors) as visitors,
        sum(part.visits) as visits,
        bit_or(part.hours) as hours
    from part
    group by part.day
)

-- A day without views has no row of page_visits: they may not have been tracked yet.
select ''::text as key, measured.metric, total.day, measured.value, total.hours
from total
cross join lateral (
    values
        ('page_visits', total.views::double precision),
        ('unique_visitors', nullif(total.visitors, 0)::double precision),
        ('visits', total.visits::double precision)
) as measured (metric, value)
where measured.value is not null and '' = any($1::text[]);
