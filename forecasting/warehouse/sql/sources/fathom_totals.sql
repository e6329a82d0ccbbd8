-- How many views each site of Fathom Lite has on each local day.
-- $1 text[]   sites.id
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
select
    hourly.site_id::text as key,
    (hourly.ts at time zone 'UTC' at time zone $4::text)::date as day,
    sum(hourly.pageviews)::double precision as total
from site_stats as hourly
where
    hourly.site_id = any($1::text[]::integer[])
    and hourly.ts >= ($2::date::timestamp at time zone $4::text) at time zone 'UTC'
    and hourly.ts < ($3::date::timestamp at time zone $4::text) at time zone 'UTC'
    and hourly.pageviews > 0
group by hourly.site_id, (hourly.ts at time zone 'UTC' at time zone $4::text)::date;
