-- How many visits there are since a moment, and how many of them are of the last minute, whatever their site.
-- $1 timestamptz  the moment
select
    count(*) as num_rows,
    count(*) filter (where visit.started_at > (now() - interval '1 minute') at time zone 'UTC') as num_newest
from ahoy_visits as visit
where visit.started_at >= $1::timestamptz at time zone 'UTC';
