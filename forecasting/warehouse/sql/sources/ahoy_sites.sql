-- Ahoy's one site, the database, with the moments of its first visit and last visit or view. Ids may be random, so the
-- first and last of them would not do; a step each where an index begins with started_at, which Ahoy itself does not
-- make, or else a look at every visit.
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
