-- How many visits Ahoy has on each local day.
-- $1 text[]   the only key, '', or no key
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
select
    ''::text as key,
    (visit.started_at::timestamptz at time zone $4::text)::date as day,
    count(*)::double precision as total
from ahoy_visits as visit
where
    visit.started_at >= ($2::date::timestamp at time zone $4::text) at time zone 'UTC'
    and visit.started_at < ($3::date::timestamp at time zone $4::text) at time zone 'UTC'
    and '' = any($1::text[])
group by (visit.started_at::timestamptz at time zone $4::text)::date;
