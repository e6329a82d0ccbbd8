-- How many sessions there are since a moment, and how many of them are of the last minute, whatever their site.
-- $1 timestamptz  the moment
select
    count(*) as num_rows,
    count(*) filter (where session.start_time > now() - interval '1 minute') as num_newest
from analytics_session as session
where session.start_time >= $1::timestamptz;
