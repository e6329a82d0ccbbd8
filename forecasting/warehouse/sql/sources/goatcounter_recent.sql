-- How many rows of hours there are since a moment, and how many of them are of the last hour, whatever their site.
-- $1 timestamptz  the moment
select
    count(*) as num_rows,
    count(*) filter (where hourly.hour > (now() - interval '61 minutes') at time zone 'UTC') as num_newest
from hit_counts as hourly
where hourly.hour >= $1::timestamptz at time zone 'UTC';
