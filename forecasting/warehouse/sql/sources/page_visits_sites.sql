-- The only site of the documented backend's events, with the times of the first and last event.
-- $1 text     time zone in which `timestamp` was written
select
    current_database()::text as key,
    current_database()::text as name,
    null::timestamp with time zone as began,
    min(page_visits.timestamp) at time zone $1::text as first,
    max(page_visits.timestamp) at time zone $1::text as last,
    null::text as timezone
from page_visits
where isfinite(page_visits.timestamp);
