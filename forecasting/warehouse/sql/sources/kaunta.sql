-- Kaunta's days: one row per site, metric and local day with a view.
-- To try it in psql, replace the final semicolon by \bind '{8a1f...}' 2024-01-01 2024-02-01 Europe/Paris \g
-- $1 text[]   website_id
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
-- The range is on created_at itself, by which the table is partitioned: partitions of other days are not opened.
with view as (
    select
        event.website_id,
        event.session_id,
        event.visit_id,
        event.engagement_time,
        event.scroll_depth,
        event.created_at at time zone $4::text as local_time
    from website_event as event
    where
        event.website_id = any($1::text[]::uuid[])
        and event.created_at >= $2::date::timestamp at time zone $4::text
        and event.created_at < $3::date::timestamp at time zone $4::text
        and event.event_type = 1
),

visitor as (
    select
        view.website_id,
        view.local_time::date as day,
        count(*) as num_views,
        count(distinct view.visit_id) as visits,
        -- Kaunta's definition of an engaged view: 10,000 ms, or half of the page.
        coalesce(max(view.engagement_time), 0) >= 10000 or coalesce(max(view.scroll_depth), 0) >= 50 as is_engaged,
        bit_or(1 << extract(hour from view.local_time)::integer) as hours
    from view
    group by view.website_id, view.local_time::date, view.session_id
),

total as (
    select
        visitor.website_id,
        visitor.day,
        sum(visitor.num_views)::double precision as page_visits,
        count(*)::double precision as unique_visitors,
        -- A visit_id is made from the session_id, so visitors do not share one.
        sum(visitor.visits)::double precision as visits,
        count(*) filter (where visitor.num_views = 1 and not visitor.is_engaged) as bounces,
        bit_or(visitor.hours) as hours
    from visitor
    group by visitor.website_id, visitor.day
)

select total.website_id::text as key, measured.metric, total.day, measured.value, total.hours
from total
cross join lateral (
    values
        ('page_visits', total.page_visits),
        ('unique_visitors', total.unique_visitors),
        ('visits', total.visits),
        ('bounce_rate', total.bounces / total.unique_visitors)
) as measured (metric, value);
