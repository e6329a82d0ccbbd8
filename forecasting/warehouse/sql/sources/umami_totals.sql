-- How many views each site of Umami has on each local day, by the definition in umami.sql.
-- $1 text[]   website_id
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
select
    event.website_id::text as key,
    (event.created_at at time zone $4::text)::date as day,
    count(*)::double precision as total
from website_event as event
inner join website on website.website_id = event.website_id
where
    event.website_id = any($1::text[]::uuid[])
    and event.created_at >= $2::date::timestamp at time zone $4::text
    and event.created_at < $3::date::timestamp at time zone $4::text
    and event.created_at >= coalesce(website.reset_at, '-infinity')
    and event.event_type not in (2, 5)
group by event.website_id, (event.created_at at time zone $4::text)::date;
