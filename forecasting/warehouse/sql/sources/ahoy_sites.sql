-- Ahoy's only site, the database, with the times of its first visit and of its last visit or view. Ids may be random,
-- so they do not tell the first and last visit. With an index on started_at, which Ahoy does not create, this takes one
-- step each; without it, every visit is read. Visits and views before 1990 or from the future have a wrong date. The
-- visits among them are counted.
select
    ''::text as key,
    current_database()::text as name,
    null::timestamptz as began,
    visit.first,
    greatest(visit.last, view.last) as last,
    null::text as timezone,
    misdated.num_rows as num_misdated,
    misdated.first as misdated_first,
    misdated.last as misdated_last
from (
    select min(started_at)::timestamptz as first, max(started_at)::timestamptz as last
    from ahoy_visits
    where started_at >= timestamptz '1990-01-01 00:00+00' and started_at < now() + interval '1 day'
) as visit
cross join (
    select count(*) as num_rows, min(started_at)::date::text as first, max(started_at)::date::text as last
    from ahoy_visits
    where started_at < timestamptz '1990-01-01 00:00+00' or started_at >= now() + interval '1 day'
) as misdated
left join lateral (
    select event.time::timestamptz as last
    from ahoy_events as event
    where
        event.name = '$view'
        and event.time >= timestamptz '1990-01-01 00:00+00'
        and event.time < now() + interval '1 day'
    order by event.time desc
    limit 1
) as view on true;
