-- GoatCounter's days: one row per site and local day with a counted view.
-- To try it in psql, replace the final semicolon by \bind '{1,2}' 2024-01-01 2024-02-01 Europe/Paris \g
-- $1 text[]   site_id
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
-- Hours are stored in UTC, in a column without a time zone. An hour counts on the local day in which it begins: it
-- cannot be split where midnight is not a whole UTC hour, as in Asia/Kolkata.
-- Before GoatCounter 2.4 `total` counted every view, and `total_unique` what `total` counts since. Where there is no such
-- column, the name resolves to the NULL that `absent` provides.
with viewed as (
    select
        hit.site_id,
        hit.total,
        hit.hour at time zone 'UTC' at time zone $4::text as local_time
    from (values (null::integer)) as absent (total_unique)
    cross join lateral (
        select stored.site_id, stored.path_id, stored.hour, coalesce(total_unique, stored.total) as total
        from hit_counts as stored
        where
            stored.site_id = any($1::text[]::integer[])
            and stored.hour >= ($2::date::timestamp at time zone $4::text) at time zone 'UTC'
            and stored.hour < ($3::date::timestamp at time zone $4::text) at time zone 'UTC'
    ) as hit
    inner join paths as path on path.path_id = hit.path_id and path.site_id = hit.site_id
    where
        -- Older versions also stored hours with nothing but repeated views.
        hit.total > 0
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
