-- How many events there are since a moment, and how many of them are of the last minute, whatever their site.
-- $1 timestamptz  the moment
select
    count(*) as num_rows,
    count(*) filter (where event.created_at > now() - interval '1 minute') as num_newest
from website_event as event
where event.created_at >= $1::timestamptz;
