-- Ahoy's only site, the database, with the times of its first visit and of its last visit or view. Ids may be random,
-- so they do not tell the first and last visit. With an index on started_at, which Ahoy does not create, this takes one
-- step each; without it, every visit is read.
select
    ''::text as key,
    current_database()::text as name,
    null::timestamptz as began,
    visit.first,
    greatest(visit.last, view.last) as last,
    null::text as timezone
from (
    select min(started_at)::timestamptz as first, max(started_at)::timestamptz as last
    from ahoy_visits
) as visit
left join lateral (
    select event.time::timestamptz as last
    from ahoy_events as event
    where event.name = '$view' and event.time is not null
    order by event.time desc
    limit 1
) as view on true;
