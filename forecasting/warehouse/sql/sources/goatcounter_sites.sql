-- GoatCounter's sites, except deleted ones, with the hours of their first and last views: two steps per page in the
-- index of the constraint (site_id, path_id, hour). Versions of 2026 no longer have an index on site and hour, and
-- first_hit_at keeps its value when retention deletes those hits. Hours before 1990 or in the future have a wrong date,
-- and are only counted.
select
    site.site_id::text as key,
    coalesce(site.cname, site.code) as name,
    null::timestamptz as began,
    extent.first at time zone 'UTC' as first,
    extent.last at time zone 'UTC' as last,
    null::text as timezone,
    coalesce(extent.num_misdated, 0) as num_misdated,
    extent.misdated_first::date::text as misdated_first,
    extent.misdated_last::date::text as misdated_last
from sites as site
left join lateral (
    select
        min(oldest.hour) as first,
        max(newest.hour) as last,
        sum(misdated.num_rows)::bigint as num_misdated,
        min(misdated.first) as misdated_first,
        max(misdated.last) as misdated_last
    from paths as path
    left join lateral (
        select hit.hour
        from hit_counts as hit
        where
            hit.site_id = path.site_id
            and hit.path_id = path.path_id
            and hit.hour >= timestamp '1990-01-01'
            and hit.hour < now() at time zone 'UTC' + interval '1 day'
        order by hit.hour
        limit 1
    ) as oldest on true
    left join lateral (
        select hit.hour
        from hit_counts as hit
        where
            hit.site_id = path.site_id
            and hit.path_id = path.path_id
            and hit.hour >= timestamp '1990-01-01'
            and hit.hour < now() at time zone 'UTC' + interval '1 day'
        order by hit.hour desc
        limit 1
    ) as newest on true
    cross join lateral (
        select count(*) as num_rows, min(stray.hour) as first, max(stray.hour) as last
        from (
            select hit.hour
            from hit_counts as hit
            where hit.site_id = path.site_id and hit.path_id = path.path_id and hit.hour < timestamp '1990-01-01'
            union all
            select hit.hour
            from hit_counts as hit
            where
                hit.site_id = path.site_id
                and hit.path_id = path.path_id
                and hit.hour >= now() at time zone 'UTC' + interval '1 day'
        ) as stray
    ) as misdated
    where path.site_id = site.site_id and coalesce(path.event, 0) = 0
) as extent on true
where site.state = 'a'
order by name, site.site_id;
