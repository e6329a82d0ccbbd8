-- The first whole day on which the application tracked views, if it had visits before.
-- $1 text     time zone
select
    ''::text as key,
    (oldest.time at time zone $1::text)::date + 1 as day,
    'the application began to track views' as note,
    'page_visits' as metric,
    true as is_break
from (
    select event.time::timestamptz as time
    from ahoy_events as event
    where event.name = '$view' and event.time is not null
    order by event.time
    limit 1
) as oldest
where exists (
    select from ahoy_visits as visit
    where visit.started_at < (date_trunc('day', oldest.time, $1::text)) at time zone 'UTC'
);
