-- How many events there are since a moment, and how many of them are of the last minute, whatever their site.
-- $1 timestamptz  the moment
-- $2 text     time zone in which `timestamp` was written
select
    count(*) as num_rows,
    count(*) filter (where event.timestamp > (now() - interval '1 minute') at time zone $2::text) as num_newest
from page_visits as event
where event.timestamp >= $1::timestamptz at time zone $2::text;
