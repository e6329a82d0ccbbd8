-- How many page views the documented backend has on each local day.
-- $1 text[]   sites: the database's name
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone of the days
-- $5 text     time zone in which `timestamp` was written
select
    current_database()::text as key,
    (page_visits.timestamp at time zone $5::text at time zone $4::text)::date as day,
    count(*)::double precision as total
from page_visits
where
    page_visits.timestamp >= ($2::date::timestamp at time zone $4::text) at time zone $5::text
    and page_visits.timestamp < ($3::date::timestamp at time zone $4::text) at time zone $5::text
    and page_visits.event_name is null
    and current_database() = any($1::text[])
group by (page_visits.timestamp at time zone $5::text at time zone $4::text)::date;
