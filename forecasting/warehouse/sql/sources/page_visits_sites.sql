-- The only site of the documented backend's events, with the times of the first and last event. Events before 1990 or
-- from the future have a wrong date, and are only counted.
-- $1 text     time zone in which `timestamp` was written
select
    current_database()::text as key,
    current_database()::text as name,
    null::timestamp with time zone as began,
    extent.first at time zone $1::text as first,
    extent.last at time zone $1::text as last,
    null::text as timezone,
    misdated.num_rows as num_misdated,
    misdated.first as misdated_first,
    misdated.last as misdated_last
from (
    select min(page_visits.timestamp) as first, max(page_visits.timestamp) as last
    from page_visits
    where
        page_visits.timestamp >= timestamp '1990-01-01'
        and page_visits.timestamp < (now() + interval '1 day') at time zone $1::text
) as extent
cross join (
    select
        count(*) as num_rows,
        min(page_visits.timestamp)::date::text as first,
        max(page_visits.timestamp)::date::text as last
    from page_visits
    where
        page_visits.timestamp < timestamp '1990-01-01'
        or page_visits.timestamp >= (now() + interval '1 day') at time zone $1::text
) as misdated;
