-- Shynet's days: one row per site, metric and local day with a session or a hit of a human.
-- To try it in psql, replace the final semicolon by \bind '{8a1f...}' 2024-01-01 2024-02-01 Europe/Paris \g
-- $1 text[]   core_service.uuid
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
-- A session counts on the day it began, with all of its duration. A hit counts on its own day, whenever its session
-- began.
with event as (
    select
        session.service_id,
        session.start_time at time zone $4::text as local_time,
        0 as hits,
        1 as sessions,
        session.is_bounce::integer as bounces,
        extract(epoch from session.last_seen - session.start_time)::double precision as seconds
    from analytics_session as session
    where
        session.service_id = any($1::text[]::uuid[])
        and session.start_time >= $2::date::timestamp at time zone $4::text
        and session.start_time < $3::date::timestamp at time zone $4::text
        and session.device_type <> 'ROBOT'
    union all
    select hit.service_id, hit.start_time at time zone $4::text, 1, 0, 0, 0
    from analytics_hit as hit
    inner join analytics_session as session on session.uuid = hit.session_id
    where
        hit.service_id = any($1::text[]::uuid[])
        and hit.start_time >= $2::date::timestamp at time zone $4::text
        and hit.start_time < $3::date::timestamp at time zone $4::text
        and session.device_type <> 'ROBOT'
),

total as (
    select
        event.service_id,
        event.local_time::date as day,
        sum(event.hits) as hits,
        sum(event.sessions) as sessions,
        sum(event.bounces) as bounces,
        sum(event.seconds) as seconds,
        bit_or(1 << extract(hour from event.local_time)::integer) as hours
    from event
    group by event.service_id, event.local_time::date
)

select total.service_id::text as key, measured.metric, total.day, measured.value, total.hours
from total
cross join lateral (
    values
        ('page_visits', total.hits::double precision),
        ('visits', total.sessions::double precision),
        ('bounce_rate', total.bounces::double precision / nullif(total.sessions, 0)),
        ('visit_duration', total.seconds / nullif(total.sessions, 0))
) as measured (metric, value)
where measured.value is not null;
