-- How many sessions of humans each site of Shynet has on each local day.
-- $1 text[]   core_service.uuid
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
select
    session.service_id::text as key,
    (session.start_time at time zone $4::text)::date as day,
    count(*)::double precision as total
from analytics_session as session
where
    session.service_id = any($1::text[]::uuid[])
    and session.start_time >= $2::date::timestamp at time zone $4::text
    and session.start_time < $3::date::timestamp at time zone $4::text
    and session.device_type <> 'ROBOT'
group by session.service_id, (session.start_time at time zone $4::text)::date;
