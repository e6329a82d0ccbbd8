-- The documented backend's events: one row per metric and local day with a page view, a row without an event_name.
-- To try it in psql, replace the final semicolon by \bind '{}' 2024-01-01 2024-02-01 Europe/Paris UTC \g
-- $1 text[]   sites: the database's name
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone of the days
-- $5 text     time zone in which `timestamp` was written
with view as (
    select
        page_visits.visitor_id,
        page_visits.session_id,
        page_visits.time_on_page,
        page_visits.timestamp at time zone $5::text at time zone $4::text as local_time
    from page_visits
    where
        page_visits.timestamp >= ($2::date::timestamp at time zone $4::text) at time zone $5::text
        and page_visits.timestamp < ($3::date::timestamp at time zone $4::text) at time zone $5::text
        and page_visits.event_name is null
),

visit as (
    select view.local_time::date as day, view.session_id, count(*) as num_views
    from view
    where view.session_id is not null
    group by view.local_time::date, view.session_id
),

visits as (
    select visit.day, count(*) as visits, count(*) filter (where visit.num_views = 1) as bounces
    from visit
    group by visit.day
),

total as (
    select
        view.local_time::date as day,
        count(*) as page_visits,
        count(distinct view.visitor_id) as unique_visitors,
        avg(view.time_on_page) as avg_time_on_page,
        bit_or(1 << extract(hour from view.local_time)::integer) as hours
    from view
    group by view.local_time::date
)

select current_database()::text as key, measured.metric, total.day, measured.value, total.hours
from total
left join visits on visits.day = total.day
cross join lateral (
    values
        ('page_visits', total.page_visits::double precision),
        ('unique_visitors', nullif(total.unique_visitors, 0)::double precision),
        ('visits', visits.visits::double precision),
        ('bounce_rate', visits.bounces::double precision / visits.visits),
        ('avg_time_on_page', total.avg_time_on_page::double precision)
) as measured (metric, value)
where measured.value is not null and current_database() = any($1::text[]);
