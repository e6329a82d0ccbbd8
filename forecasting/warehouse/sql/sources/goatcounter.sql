-- GoatCounter's days: a row each site and local day with a counted view.
-- Try it in psql: put \bind '{1,2}' 2024-01-01 2024-02-01 Europe/Paris \g behind it, instead of the semicolon.
-- $1 text[]   site_id
-- $2 date     from this local day
-- $3 date     to before this one
-- $4 text     time zone
-- Hours are kept in UTC, without saying so. One belongs to the day in which it begins: where midnight is no whole hour
-- of UTC, as in Asia/Kolkata, nobody knows how to cut it.
with viewed as (
    select
        hit.site_id,
        hit.total,
        hit.hour at time zone 'UTC' at time zone $4::text as local_time
    from hit_counts as hit
    inner join paths as path on path.path_id = hit.path_id and path.site_id = hit.site_id
    where
        hit.site_id = any($1::text[]::integer[])
        and hit.hour >= ($2::date::timestamp at time zone $4::text) at time zone 'UTC'
        and hit.hour < ($3::date::timestamp at time zone $4::text) at time zone 'UTC'
        -- Older versions kept hours of nothing but repeated views, too.
        and hit.total > 0
        and coalesce(path.event, 0) = 0
)

select
    viewed.site_id::text as key,
    'page_visits' as metric,
    viewed.local_time::date as day,
    sum(viewed.total)::double precision as value,
    bit_or(1 << extract(hour from viewed.local_time)::integer) as hours
from viewed
group by viewed.site_id, viewed.local_time::date;
