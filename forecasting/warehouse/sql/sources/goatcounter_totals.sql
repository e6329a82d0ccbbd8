-- What goatcounter.sql returns, without the hours.
-- $1 text[]   site_id
-- $2 date     first local day
-- $3 date     the day after the last day
-- $4 text     time zone
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
        hit.total > 0
        and coalesce(path.event, 0) = 0
)

select
    viewed.site_id::text as key,
    viewed.local_time::date as day,
    sum(viewed.total)::double precision as total
from viewed
group by viewed.site_id, viewed.local_time::date;
