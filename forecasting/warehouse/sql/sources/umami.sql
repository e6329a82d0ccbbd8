-- Umami's days: one row per site, metric and local day with a view.
-- To try it in psql, replace the final semicolon by \bind '{8a1f...}' 2024-01-01 2024-02-01 Europe/Paris \g
-- $1 text[]   website_id
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
-- If the table has no visit_id (before Umami 2.11), the name resolves to the NULL that `absent` provides.
-- Since Umami 3.3, which has the table website_engagement, a visit with a custom event (type 2) is no bounce. Umami
-- computes this from stored events, so it holds for all days.
-- date_part is faster than extract, which makes each event's hour a numeric.
-- Events older than their site's last reset are left over from before, or were sent late with an old date. Umami shows
-- neither.
with event as (
    select
        event.website_id,
        event.session_id,
        event.visit_id,
        event.created_at,
        event.created_at at time zone $4::text as local_time,
        event.event_type <> 2 as is_view
    from (values (null::uuid)) as absent (visit_id)
    cross join lateral (
        select stored.website_id, stored.session_id, visit_id, stored.created_at, stored.event_type
        from website_event as stored
        inner join website on website.website_id = stored.website_id
        where
            stored.website_id = any($1::text[]::uuid[])
            and stored.created_at >= $2::date::timestamp at time zone $4::text
            and stored.created_at < $3::date::timestamp at time zone $4::text
            and stored.created_at >= coalesce(website.reset_at, '-infinity')
            and stored.event_type <> 5
            and (stored.event_type <> 2 or (select to_regclass('website_engagement') is not null))
    ) as event
),

visit as (
    select
        event.website_id,
        event.local_time::date as day,
        event.session_id,
        event.visit_id,
        count(*) filter (where event.is_view) as num_views,
        bool_and(event.is_view) as has_only_views,
        floor(
            date_part(
                'epoch',
                max(event.created_at) filter (where event.is_view) - min(event.created_at) filter (where event.is_view)
            )
        ) as seconds,
        bit_or(1 << date_part('hour', event.local_time)::integer) filter (where event.is_view) as hours
    from event
    group by event.website_id, event.local_time::date, event.session_id, event.visit_id
),

total as (
    select
        visit.website_id,
        visit.day,
        sum(visit.num_views) as page_visits,
        count(distinct visit.session_id) as unique_visitors,
        count(distinct visit.visit_id) as visits,
        count(visit.visit_id) filter (where visit.num_views = 1 and visit.has_only_views) as bounces,
        sum(visit.seconds) as seconds,
        bit_or(visit.hours) as hours
    from visit
    where visit.num_views > 0
    group by visit.website_id, visit.day
)

select total.website_id::text as key, measured.metric, total.day, measured.value, total.hours
from total
cross join lateral (
    values
        ('page_visits', total.page_visits::double precision),
        ('unique_visitors', total.unique_visitors::double precision),
        ('visits', nullif(total.visits, 0)::double precision),
        -- When Umami identifies somebody, the visit continues in another session: its two bounces count as one.
        ('bounce_rate', least(total.bounces, total.visits)::double precision / nullif(total.visits, 0)),
        ('visit_duration', total.seconds / nullif(total.visits, 0))
) as measured (metric, value)
where measured.value is not null;
